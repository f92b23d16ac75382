"""The guard: its verdict from tables of scripted vectors, and what a report must hold."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from fgembed.backbones import make_backbone
from fgembed.embedding.array_types import Vectors
from fgembed.embedding.bulk import Embedded, embed_paths
from fgembed.errors import FgembedError, IntegrityError
from fgembed.evaluation.floor_table import SELECTION_NOTES, FloorTable, Score
from fgembed.evaluation.guard import (
    START_ITSELF,
    judged_by_labels,
    judged_by_views,
    refuse_below_floor,
    verdict_in,
)
from fgembed.evaluation.label_free import score_views
from fgembed.evaluation.metrics import bootstrap_interval
from fgembed.evaluation.protocol import floor_table
from fgembed.images.decoding import Pixels
from fgembed.images.preprocessing import Preprocessing
from fgembed.model.encoder import Encoder
from fgembed.model.encoder_files import load_encoder
from fgembed.model.pooling import MeanPooling
from fgembed.model.torch_embedder import TorchEmbedder
from tests.conftest import TINY

QUERIES = 20


class Scripted:
    """An embedder that puts the first `right` queries beside their class, the rest off it."""

    spec = Preprocessing()

    def __init__(self, right: Sequence[int]) -> None:
        self.right = right

    def __call__(self, paths: Sequence[Path]) -> Embedded:
        return Embedded(list(paths), np.array([self._of(path) for path in paths]), [])

    def vectors(self, pixels: Pixels) -> Vectors:
        raise NotImplementedError

    def _of(self, path: Path) -> list[float]:
        axes = [[1.0, 0.0], [0.0, 1.0]]
        match, mismatch = axes if path.parent.name == "a" else reversed(axes)
        return match if path.stem == "gallery" or int(path.stem) in self.right else mismatch


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two classes, a gallery image each, ten queries each; nothing in them is decoded."""
    for name in "ab":
        for split in ("gallery", "queries"):
            (tmp_path / split / name).mkdir(parents=True)
        (tmp_path / "gallery" / name / "gallery.jpg").write_bytes(b"")
    for number in range(QUERIES):
        (tmp_path / "queries" / "ab"[number % 2] / f"{number}.jpg").write_bytes(b"")
    return tmp_path / "gallery", tmp_path / "queries"


def table_of(folders: tuple[Path, Path], rights: Mapping[str, Sequence[int]]) -> FloorTable:
    return floor_table({name: Scripted(right) for name, right in rights.items()}, *folders)


def test_the_gain_is_paired_over_queries_and_of_the_last_two_rows(folders: tuple[Path, Path]):
    table = table_of(folders, {"mean": range(20), "start": range(10), "run": range(6, 18)})
    difference = np.array([-1.0] * 6 + [0.0] * 4 + [1.0] * 8 + [0.0] * 2)
    assert list(table.gains) == ["recall@1", "precision@10", "mAP"]
    gain = table.gains["recall@1"]
    assert gain.value == pytest.approx(0.1)
    # Each image's query is drawn as often, in whatever order they come.
    low, high = bootstrap_interval(difference)
    assert (gain.low, gain.high) == pytest.approx((low, high), abs=0.1)
    assert table.gains["precision@10"] == Score(0.0, 0.0, 0.0)  # two images are always found
    assert table.gains["mAP"].value == pytest.approx(0.05)  # 1 or 1/2 a query
    assert "beyond the row above: recall@1 +10.0 [" in table.caption()
    assert ", precision@10 +0.0 [+0.0, +0.0], mAP +5.0 [" in table.caption()
    assert FloorTable.from_json(json.loads(json.dumps(table.to_json()))) == table


def test_a_run_that_retrieves_less_than_the_calibrated_start_is_below(folders: tuple[Path, Path]):
    verdict = judged_by_labels(table_of(folders, {"mean": [], "start": range(15), "run": range(3)}))
    assert (verdict.outcome, verdict.by) == ("below", "labels")
    assert (verdict.trained, verdict.floor) == pytest.approx((0.15, 0.75))
    expected = "recall@1 15.0 against 75.0 of the calibrated start, -60.0 ["
    assert verdict.sentence.startswith(expected)
    assert verdict.sentence.endswith("over 20 queries")


def test_a_run_that_retrieves_more_passes(folders: tuple[Path, Path]):
    table = table_of(folders, {"mean": range(20), "start": range(5), "run": range(16)})
    verdict = judged_by_labels(table)
    assert (verdict.outcome, verdict.trained, verdict.floor) == ("passed", 0.8, 0.25)
    assert "80.0 against 25.0 of the calibrated start, +55.0 [" in verdict.headline()
    of_others = "precision@10 50.0 against 50.0, +0.0 [+0.0, +0.0], within noise; mAP 90.0 against"
    assert f"; {of_others}" in verdict.sentence
    assert verdict.headline().startswith("passed: ")


def test_one_query_less_passes_within_noise(folders: tuple[Path, Path]):
    table = table_of(folders, {"start": range(11), "run": range(1, 11)})
    verdict = judged_by_labels(table)
    assert (verdict.outcome, verdict.trained, verdict.floor) == ("passed", 0.5, 0.55)
    expected = (
        "recall@1 50.0 against 55.0 of the calibrated start, -5.0 [-15.0, +0.0], within noise"
    )
    assert verdict.sentence.startswith(expected)
    assert verdict.sentence.endswith("over 20 queries")


def test_a_run_that_retrieves_as_much_passes(folders: tuple[Path, Path]):
    verdict = judged_by_labels(table_of(folders, {"start": range(10), "run": range(10, 20)}))
    assert verdict.outcome == "passed"
    assert verdict.trained == verdict.floor == 0.5


def hits(share: float) -> Vectors:
    return (np.arange(500) < 500 * share) * 1.0


def test_without_labels_a_clear_loss_of_views_is_below():
    verdict = judged_by_views(hits(0.5), hits(0.7))
    assert (verdict.outcome, verdict.by, verdict.ships_start) == ("below", "views", False)
    assert judged_by_views(hits(0.5), hits(0.7), taught_by="its start").outcome == "below"
    assert (verdict.trained, verdict.floor) == (0.5, 0.7)
    expected = "50.0 % of training images found by a gentle view of them against 70.0 by the"
    assert expected in verdict.sentence
    assert "-20.0 [" in verdict.sentence


@pytest.mark.parametrize("share", [0.6, 0.7, 0.9])
def test_without_labels_any_smaller_change_is_unknown(share: float):
    verdict = judged_by_views(hits(share), hits(0.7))
    assert (verdict.outcome, verdict.by, verdict.ships_start) == ("unknown", "views", True)
    assert "the calibrated start is exported in its place" in verdict.sentence
    taught = judged_by_views(hits(share), hits(0.7), taught_by="its start")
    assert (taught.outcome, taught.by, taught.ships_start) == ("unknown", "teacher", False)
    assert "it has learned from its start, and is exported" in taught.sentence
    assert "fgembed evaluate --gallery DIR --queries DIR" in verdict.headline()


def test_views_are_retrieved_by_a_sound_encoder_and_not_by_a_constant_one(run: Path, photos: Path):
    encoder, spec = load_encoder(run / "start")
    paths = sorted((photos / "train").rglob("*.jpg"))
    sees = score_views(TorchEmbedder(encoder, spec, torch.device("cpu")), paths)
    again = score_views(TorchEmbedder(encoder, spec, torch.device("cpu")), paths)
    np.testing.assert_array_equal(sees, again)
    assert encoder.whitening is not None
    encoder.whitening.projection.zero_()
    blind = score_views(TorchEmbedder(encoder, spec, torch.device("cpu")), paths)
    assert sees.mean() > 0.4  # 11 of 24; one by chance
    assert blind.sum() == 1  # all are as near, so the first is taken for each


class Halves(Encoder):
    """Embeds an image as the brightness of its two halves."""

    def forward(self, images: Tensor) -> Tensor:
        halves = [half.mean(dim=(1, 2, 3)) for half in images.chunk(2, dim=3)]
        return F.normalize(torch.stack(halves, dim=1), dim=1)

    def explained(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self(images), images[:, 0]


def test_no_view_is_flipped_where_the_mirror_image_is_another_thing(tmp_path: Path):
    for name, corner in {"left": 0, "right": 32}.items():
        image = Image.new("RGB", (64, 64))
        image.paste((255, 255, 255), (corner, 0, corner + 32, 64))
        image.save(tmp_path / f"{name}.png")
    paths = sorted(tmp_path.iterdir()) * 20
    halves = Halves(make_backbone(TINY), MeanPooling())
    embedder = TorchEmbedder(halves, Preprocessing(size=32), torch.device("cpu"))
    assert score_views(embedder, paths, may_mirror=False).mean() > 0.95
    assert 0.3 < score_views(embedder, paths).mean() < 0.7  # the flipped ones find the other


def test_a_table_of_floors_has_no_note_or_gain_of_the_trained_encoder(folders: tuple[Path, Path]):
    (biased,) = SELECTION_NOTES["test"]
    earlier = "the trained encoder's epoch was selected on held-out training pictures"
    embedders = {"start": Scripted(range(10)), "run": Scripted(range(20))}
    table = floor_table(embedders, *folders, notes=[biased, earlier, "another"])
    floors = table.without_trained()
    assert [row.encoder for row in floors.rows] == ["start"]
    assert (floors.notes, floors.gains) == (["another"], {})


def test_a_table_s_rows_are_reached_by_what_they_are(folders: tuple[Path, Path]):
    table = table_of(folders, {"mean": range(5), "start": range(10), "run": range(20)})
    assert [row.encoder for row in table.floors] == ["mean", "start"]
    assert (table.calibrated_start.encoder, table.trained.encoder) == ("start", "run")


def test_only_a_run_below_its_floor_is_refused(folders: tuple[Path, Path]):
    below = judged_by_labels(table_of(folders, {"start": range(20), "run": range(5)}))
    for admitted in (START_ITSELF, judged_by_views(hits(0.7), hits(0.7))):
        refuse_below_floor(admitted, Path("runs/moco-1"))
    with pytest.raises(FgembedError) as refusal:
        refuse_below_floor(below, Path("runs/moco 1"))
    message = str(refusal.value)
    assert message.startswith("runs/moco 1 is below its floor: recall@1 25.0 against 100.0 of")
    assert "\"fgembed export 'runs/moco 1' --start\", or this run anyway with --f" in message


def test_a_report_gives_its_verdict_back_or_is_refused(tmp_path: Path):
    intact = asdict(START_ITSELF)
    assert verdict_in(json.loads(json.dumps({"guard": intact})), tmp_path) == START_ITSELF
    for damaged in ({}, {"guard": None}, {"guard": intact | {"outcome": "fine"}}):
        with pytest.raises(IntegrityError, match=r"no sound verdict.*fgembed train --resume"):
            verdict_in(damaged, tmp_path)


def test_fewer_than_30_views_refuse_no_run():
    lost = hits(0.2)
    assert judged_by_views(lost, hits(0.7)).outcome == "below"
    assert judged_by_views(lost[:29], np.ones(29)).outcome == "unknown"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_vectors_that_are_not_finite_have_no_score(bad: float, photos: Path):
    """Their order is the gallery's, which can look better than a floor."""

    def embed(pixels: Pixels) -> np.ndarray:
        vectors = np.eye(len(pixels), 4, dtype=np.float32)
        vectors[-1, -1] = bad
        return vectors

    paths = sorted((photos / "test").rglob("*.jpg"))
    with pytest.raises(IntegrityError, match="not finite"):
        embed_paths(embed, paths, Preprocessing(size=64))
