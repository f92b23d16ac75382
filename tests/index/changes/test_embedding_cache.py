"""The cache of an index build: what is complete is reused, what is damaged is embedded again."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from fgembed.bundle import Bundle
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.index.changes import embedding_cache
from fgembed.index.changes.embedding_cache import Block, EmbeddingCache
from fgembed.progress import silent


@pytest.fixture(autouse=True)
def four_images_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_cache, "BLOCK", 4)


@pytest.fixture
def paths(photos: Path, tmp_path: Path) -> list[Path]:
    """Nine images; the sixth cannot be read."""
    shutil.copytree(photos / "test", tmp_path / "photos")
    paths = sorted((tmp_path / "photos").rglob("*.jpg"))
    paths[5].write_bytes(b"no image")
    return paths


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the images that the model embeds, as it does."""
    names: list[str] = []
    embed = OnnxEmbedder.embed

    def recording(self, images, report=silent):
        names.extend(Path(str(image)).name for image in images)
        return embed(self, images, report)

    monkeypatch.setattr(OnnxEmbedder, "embed", recording)
    return names


def fill(folder: Path, bundle: Path, paths: list[Path]) -> list[Block]:
    return EmbeddingCache(folder, Bundle.open(bundle)).embed(paths, "cpu", silent)


def test_blocks_hold_the_files_and_vectors_of_readable_images(bundle, paths, tmp_path):
    blocks = fill(tmp_path, bundle, paths)
    files = [file for block in blocks for file in block.files]
    assert [file.position for file in files] == [0, 1, 2, 3, 4, 6, 7, 8]
    assert [(file.size, file.mtime_ns) for file in files] == [
        (paths[file.position].stat().st_size, paths[file.position].stat().st_mtime_ns)
        for file in files
    ]
    assert [[bad.path for bad in block.skipped] for block in blocks] == [[], [paths[5]], []]
    expected = OnnxEmbedder.of(Bundle.open(bundle), "cpu", bulk=True).embed(paths)
    vectors = np.concatenate([block.vectors() for block in blocks])
    np.testing.assert_allclose(vectors, expected.vectors, atol=1e-6)


def test_a_second_call_embeds_nothing_and_gives_the_same(bundle, paths, tmp_path, embedded):
    first = fill(tmp_path, bundle, paths)
    embedded.clear()
    assert fill(tmp_path, bundle, paths) == first
    assert embedded == []


def test_a_block_is_reused_at_another_position(bundle, paths, tmp_path, embedded):
    fill(tmp_path, bundle, paths)
    embedded.clear()
    blocks = fill(tmp_path, bundle, paths[4:])
    assert embedded == []
    assert [file.position for block in blocks for file in block.files] == [0, 2, 3, 4]


def test_a_record_with_another_position_is_embedded_again(bundle, paths, tmp_path, embedded):
    first = fill(tmp_path, bundle, paths)
    records = [*(tmp_path / "pending").glob("*.json")]
    record = max(records, key=lambda file: len(json.loads(file.read_text())["files"]))
    content = json.loads(record.read_text())
    content["files"][0][0], content["files"][1][0] = 1, 0
    record.write_text(json.dumps(content))
    embedded.clear()
    assert fill(tmp_path, bundle, paths) == first
    assert len(embedded) == 4


@pytest.mark.parametrize(
    "damage", ["vectors", "record", "keys", "skipped", "reason", "another block", "no record"]
)
def test_a_damaged_block_is_embedded_again(bundle, paths, tmp_path, embedded, damage):
    first = fill(tmp_path, bundle, paths)
    vectors = first[1].vectors_file
    record, skipped = vectors.with_suffix(".json"), vectors.with_suffix(".skipped.jsonl")
    content = json.loads(record.read_text())
    match damage:
        case "vectors":
            np.save(vectors, np.load(vectors)[:, ::-1])
        case "record":
            record.write_text("{")
        case "keys":
            record.write_text(json.dumps({"digest": content["digest"]}))
        case "skipped":
            skipped.unlink()
        case "reason":
            skipped.write_text(json.dumps(json.loads(skipped.read_text()) | {"reason": "none"}))
        case "another block":
            for file in (vectors, record):
                shutil.copy(first[0].vectors_file.with_suffix(file.suffix), file)
            skipped.unlink()
        case _:
            record.unlink()
    embedded.clear()
    again = fill(tmp_path, bundle, paths)
    assert embedded == [path.name for path in paths[4:8]]
    assert again == first
    for block, expected in zip(again, first, strict=True):
        np.testing.assert_array_equal(block.vectors(), expected.vectors())


def test_other_images_and_another_model_do_not_find_it(bundle, paths, tmp_path, embedded):
    fill(tmp_path, bundle, paths)
    os.utime(paths[0], (5, 5))
    embedded.clear()
    fill(tmp_path, bundle, paths)
    assert embedded == [path.name for path in paths[:4]]
    cache = EmbeddingCache(tmp_path, Bundle.open(bundle))
    cache.model = "another export"
    embedded.clear()
    cache.embed(paths, "cpu", silent)
    assert embedded == [path.name for path in paths]


def test_progress_counts_cached_images_as_done(bundle, paths, tmp_path):
    counts: list[tuple[int, int]] = []
    fill(tmp_path, bundle, paths[:4])
    cache = EmbeddingCache(tmp_path, Bundle.open(bundle))
    cache.embed(paths, "cpu", lambda done, total: counts.append((done, total)))
    assert counts[0] == (4, 9) and counts[-1] == (9, 9)
    assert counts == sorted(counts)


def test_an_image_that_is_replaced_between_kill_and_resume_is_embedded_again(
    bundle, paths, tmp_path, embedded
):
    fill(tmp_path, bundle, paths)
    before = paths[1].stat()
    paths[1].write_bytes(paths[1].read_bytes()[:-20] + bytes(20))
    os.utime(paths[1], ns=(before.st_atime_ns, before.st_mtime_ns))
    embedded.clear()
    fill(tmp_path, bundle, paths)
    assert embedded == [path.name for path in paths[:4]]


def test_an_image_that_changes_while_it_is_read_is_skipped(bundle, paths, tmp_path, monkeypatch):
    embed = OnnxEmbedder.embed

    def embedding_late(self, images, report=silent):
        result = embed(self, images, report)
        if paths[2] in images:
            shutil.copy(paths[7], paths[2])
        return result

    monkeypatch.setattr(OnnxEmbedder, "embed", embedding_late)
    block = fill(tmp_path, bundle, paths)[0]
    assert [(bad.path, bad.reason) for bad in block.skipped] == [
        (paths[2], "the file changed while it was embedded")
    ]
    assert [file.position for file in block.files] == [0, 1, 3]
