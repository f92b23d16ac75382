"""The re-ranking benchmark: its scores by hand, its table, and one whole measurement."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.rerank import (
    METRICS,
    FlatGallery,
    Measured,
    Without,
    main,
    markdown,
    measure,
    plain,
)
from fgembed.embedding.bulk import Embedded
from fgembed.evaluation.protocol import EmbeddedSplit
from fgembed.index.search.reranking import Gallery

NO_EMBEDDER: Any = None  # the vectors are there


def on_a_circle(*degrees: float) -> np.ndarray:
    angles = np.deg2rad(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def embedded(vectors: np.ndarray) -> Embedded:
    return Embedded([Path(str(row)) for row in range(len(vectors))], vectors, [])


def reversed_order(query: np.ndarray, gallery: Gallery, k: int) -> np.ndarray:
    return plain(query, gallery, 4)[::-1][:k]


def test_scores_are_those_of_the_order_that_a_way_gives():
    """By cosine b a b a, so the precision is 0, 1/2, 0, 2/4; reversed a b a b: 1, 0, 2/3, 0."""
    gallery, labels = embedded(on_a_circle(10, 20, 30, 40)), np.array(["b", "a", "b", "a"])
    query = embedded(on_a_circle(0))
    given = EmbeddedSplit(NO_EMBEDDER, query, np.array(["a"]), gallery, labels, leave_one_out=False)
    expected = {plain: (0, 1, 0.5, 0.5), reversed_order: (1, 1, 0.5, (1 + 2 / 3) / 2)}
    for way, values in expected.items():
        scores = measure(way, given).scores
        assert list(scores) == ["recall@1", "recall@5", "precision@10", "mAP"]
        assert [float(value[0]) for value in scores.values()] == pytest.approx(values)


def test_leave_one_out_never_finds_the_query_itself():
    gallery, labels = embedded(on_a_circle(0, 5, 50, 57)), np.array(["a", "b", "a", "b"])
    given = EmbeddedSplit(NO_EMBEDDER, gallery, labels, gallery, labels, leave_one_out=True)
    scores = measure(plain, given).scores
    assert scores["recall@1"].tolist() == [0, 0, 0, 0]
    assert scores["precision@10"].tolist() == pytest.approx([1 / 3] * 4)
    assert scores["mAP"].tolist() == pytest.approx([1 / 2, 1 / 3, 1 / 3, 1 / 2])


def test_a_gallery_without_a_picture_gives_the_others_in_order():
    gallery = Without(FlatGallery(on_a_circle(0, 10, 20, 30)), 1)
    scores, ids = gallery.search(on_a_circle(9), 2)
    assert ids.tolist() == [[0, 2]]
    assert scores[0] == pytest.approx([np.cos(np.deg2rad(9)), np.cos(np.deg2rad(11))])


def test_the_gain_is_paired_over_queries():
    """Both ways are right on half of the queries, on the same ones or on the other ones."""
    half, rest = np.array([1.0, 0.0] * 50), np.array([0.0, 1.0] * 50)
    ways = {"plain": half, "same": half, "other": rest}
    measured = {name: Measured(dict.fromkeys(METRICS, right), 1.5) for name, right in ways.items()}
    rows = [line.split(" | ") for line in markdown(measured).splitlines()[2:]]
    assert [row[5] for row in rows[:2]] == ["+0.0 [+0.0, +0.0]"] * 2
    low, high = map(float, re.findall(r"[+-]\d+\.\d", rows[2][5])[1:])
    assert low < -10 and high > 10
    assert rows[2][6] == "1.5 |"


@pytest.mark.parametrize("kind", ["bundle", "run"])
def test_every_way_is_measured_on_a_bundle_or_a_run(
    kind: str, photos: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
):
    folder = request.getfixturevalue(kind)
    train, test = str(photos / "train"), str(photos / "test")
    main([str(folder), "--gallery", train, "--queries", test, "--every", "2"])
    lines = capsys.readouterr().out.splitlines()
    names = [line.split(" | ")[0] for line in lines[2:6]]
    assert names == ["| plain", "| expansion", "| reciprocal", "| augmentation"]
    assert lines[7].startswith("queries against gallery: 5 queries, 24 gallery images, 3 classes")
    assert "Reciprocal(k1=20, k2=6, weight=0.3, candidates=100)" in lines[7]


def test_folders_that_overlap_are_refused(bundle: Path, photos: Path):
    with pytest.raises(SystemExit, match="is both a query and in the gallery"):
        main([str(bundle), "--gallery", str(photos / "train"), "--queries", str(photos)])
