"""Parts on disk: written last is the record, and only what is missing is embedded."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fgembed.bundle import Bundle
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.embedding.resumable import Part, ResumableEmbedding
from fgembed.errors import ConfigError, IntegrityError
from fgembed.images.skipped import Skipped

VANISHED = 2


class Positions:
    """Records that are a list of numbers; the image at `VANISHED` is gone."""

    def begin(self, part: Part) -> None:
        pass

    def row(self, position: int) -> int:
        if position == VANISHED:
            raise FileNotFoundError(2, "No such file")
        return position

    def write(self, part: Part, rows: Sequence[int]) -> None:
        assert not part.record.exists()  # so that it is never beside other vectors than its own
        assert len(np.load(part.vectors)) == len(rows)
        part.record.write_text(" ".join(map(str, rows)))

    def count(self, part: Part) -> int:
        return len([int(word) for word in part.record.read_text().split()])


@pytest.fixture
def images(photos: Path) -> list[Path]:
    return sorted((photos / "test").rglob("*.jpg"))


@pytest.fixture
def parts(tmp_path: Path) -> list[Part]:
    """Two parts of four images."""
    return [
        Part(range(i, i + 4), *(tmp_path / f"{i}{end}" for end in (".npy", ".txt", ".jsonl")))
        for i in (0, 4)
    ]


def test_a_part_without_a_sound_record_is_missing(bundle, images, parts):
    embedding = ResumableEmbedding(Bundle.open(bundle), images, Positions(), "cpu")
    assert embedding.missing(parts) == parts
    embedding.embed(parts)
    assert embedding.missing(parts) == []
    parts[0].record.unlink()
    parts[1].record.write_text("4 x 6 7")
    assert embedding.missing(parts) == parts
    parts[1].record.write_text("4 6 7")
    assert embedding.missing(parts[1:]) == parts[1:]
    embedding.embed(parts)
    assert embedding.missing(parts) == []


@pytest.mark.parametrize("damage", ["header", "scalar", "columns", "type"])
def test_vectors_of_another_form_are_embedded_again(bundle, images, parts, damage: str):
    embedding = ResumableEmbedding(Bundle.open(bundle), images, Positions(), "cpu")
    embedding.embed(parts[:1])
    vectors, file = np.load(parts[0].vectors), parts[0].vectors
    if damage == "header":
        file.write_bytes(file.read_bytes().replace(b"'shape'", b"'shap\"'"))
    else:
        wrong = {"scalar": np.float32(3), "columns": vectors[:, 1:], "type": vectors.astype(float)}
        np.save(file, wrong[damage])
    assert embedding.missing(parts[:1]) == parts[:1]


def test_an_image_that_vanishes_meanwhile_is_skipped_with_its_row(bundle, images, parts):
    opened = Bundle.open(bundle)
    ResumableEmbedding(opened, images, Positions(), "cpu").embed(parts[:1])
    assert parts[0].record.read_text() == "0 1 3"
    assert parts[0].read_skipped() == [Skipped(images[VANISHED], "No such file")]
    expected = OnnxEmbedder.of(opened, "cpu", bulk=True).embed(images[:4]).vectors[[0, 1, 3]]
    np.testing.assert_allclose(np.load(parts[0].vectors), expected, atol=1e-6)


def test_progress_goes_on_from_part_to_part(bundle, images, parts):
    counts: list[tuple[int, int]] = []
    embedding = ResumableEmbedding(Bundle.open(bundle), images, Positions(), "cpu")
    embedding.embed(parts, lambda done, total: counts.append((done, total)))
    assert counts == sorted(counts) and (4, 8) in counts and counts[-1] == (8, 8)


def test_without_parts_the_model_is_not_opened(bundle, images, parts):
    embedding = ResumableEmbedding(Bundle.open(bundle), images, Positions(), "no such provider")
    embedding.embed([])
    with pytest.raises(ConfigError, match="no such provider"):
        embedding.embed(parts)


@pytest.mark.parametrize("content", ["{", '{"path": "a.jpg"}', "3"])
def test_a_damaged_list_of_skipped_images_says_what_to_remove(content: str, parts):
    parts[0].skipped.write_text(content + "\n")
    with pytest.raises(IntegrityError, match=r"0\.jsonl is damaged: .*; remove it and .*0\.txt"):
        parts[0].read_skipped()
