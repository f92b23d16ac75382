"""Probes as columns of the floor table."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from fgembed.embedding.array_types import Vectors
from fgembed.embedding.bulk import Embedded, embed_paths
from fgembed.evaluation.floor_table import FloorTable
from fgembed.evaluation.probe_protocols import Probe
from fgembed.evaluation.protocol import Embed, EmbeddedSplit, Split, floor_table
from fgembed.images.decoding import Pixels
from fgembed.images.preprocessing import Preprocessing
from tests.conftest import Command
from tests.end_to_end.refusals import refused


@dataclass
class ColourEmbed:
    """Mean colour and a constant, as a unit vector; counts its batches."""

    spec: Preprocessing = field(default_factory=lambda: Preprocessing(size=16))
    batches: int = 0

    def __call__(self, paths: Sequence[Path]) -> Embedded:
        return embed_paths(self.vectors, paths, self.spec)

    def vectors(self, pixels: Pixels) -> Vectors:
        self.batches += 1
        colour = pixels.mean(axis=(1, 2)) / 255 - 0.5
        joined = np.concatenate([colour, np.full((len(colour), 1), 0.1)], axis=1)
        unit = joined / np.linalg.norm(joined, axis=1, keepdims=True)
        return np.asarray(unit, np.float32)


def embedded_split(photos: Path, embed: ColourEmbed) -> EmbeddedSplit:
    return EmbeddedSplit.embed(embed, Split.find(photos / "train", photos / "test"), 0.5)


def clusters(query_labels: list[str]) -> EmbeddedSplit:
    """Three classes on three axes; the queries lie on the axes a, b and c."""
    gallery = Embedded([], np.repeat(np.eye(3, dtype=np.float32), 5, axis=0), [])
    queries = Embedded([], np.eye(3, dtype=np.float32), [])
    labels = np.repeat(["a", "b", "c"], 5)
    return EmbeddedSplit(
        embedder=ColourEmbed(),
        queries=queries,
        query_labels=np.array(query_labels),
        gallery=gallery,
        gallery_labels=labels,
        leave_one_out=False,
    )


def test_a_probe_gives_one_value_a_query_and_column():
    values = Probe("lcr", few_labels=True)(clusters(["a", "c", "zebra"]))
    assert {name: value.tolist() for name, value in values.items()} == {
        "lcr probe top-1": [1, 0, 0],
        "lcr probe top-5": [1, 1, 0],
        "lcr 20 % labels": [1, 0, 0],
        "lcr 50 % labels": [1, 0, 0],
    }


def test_a_probe_gives_the_same_values_again(photos: Path):
    first, second = (Probe("papn", True)(embedded_split(photos, ColourEmbed())) for _ in range(2))
    assert {k: v.tolist() for k, v in first.items()} == {k: v.tolist() for k, v in second.items()}


def test_random_views_are_embedded_once_and_gone_through_in_turn(photos: Path):
    embed = ColourEmbed()
    sides = embedded_split(photos, embed)
    before = embed.batches
    passes = Probe("lcr", views=2)._passes(sides)
    first, second, third, fourth = (next(passes) for _ in range(4))
    assert embed.batches - before == 2
    assert first.shape == (24, 4)
    assert not np.allclose(first, second)
    assert not np.allclose(first, sides.gallery.vectors)
    np.testing.assert_array_equal(first, third)
    np.testing.assert_array_equal(second, fourth)
    # on average a view is nearer to its image than to all images
    to_source = (first.numpy() * sides.gallery.vectors).sum(axis=1).mean()
    assert to_source > (first.numpy() @ sides.gallery.vectors.T).mean()


def test_the_caption_says_what_the_probe_was_trained_on(photos: Path):
    embedders: dict[str, Embed] = {"start": ColourEmbed()}
    for views, words in ((0, "plain images (published: views)"), (2, "2 random views an image")):
        probe = Probe("lcr", views=views)
        table = floor_table(embedders, photos / "train", photos / "test", measures=[probe])
        assert words in table.caption()
        assert "learning rate 30 x 0.1 at epochs 60 and 80" in table.markdown()


def test_queries_without_an_image_of_their_class_are_mentioned(photos: Path, tmp_path: Path):
    test = tmp_path / "test"
    for number, folder in enumerate(sorted(p for p in (photos / "test").iterdir() if p.is_dir())):
        (test / (folder.name if number else "zebra")).mkdir(parents=True)
        image = sorted(folder.glob("*.jpg"))[0]
        name = folder.name if number else "zebra"
        (test / name / image.name).write_bytes(image.read_bytes())
    table = floor_table({"start": ColourEmbed()}, photos / "train", test)
    assert "queries without an image of their class to find: 1." in table.caption()


def test_a_table_from_before_notes_and_curves_is_still_read():
    score = {"value": 0.5, "low": 0.4, "high": 0.6}
    old = {
        "rows": [{"encoder": "start", "dimensions": 8, "scores": {"recall@1": score}}],
        "protocol": "leave-one-out", "queries": 9, "gallery": 9, "classes": 3, "skipped": 0,
    }  # fmt: skip
    table = FloorTable.from_json(old)
    assert (table.notes, table.rows[0].recall_curve) == ([], [])
    assert "| start | 8 | 50.0 [40.0, 60.0] |" in table.markdown()
    assert FloorTable.from_json(json.loads(json.dumps(table.to_json()))) == table


@pytest.mark.slow
def test_evaluate_gives_every_row_every_column(command: Command, run: Path):
    done = command("evaluate", run, "--probe", "lcr,lodisc", "--few-labels", "--json")
    assert done.code == 0, done.err
    table = json.loads(done.out)
    columns = [list(row["scores"]) for row in table["rows"]]
    assert all(other == columns[0] for other in columns)
    assert columns[0][7:] == [
        "kNN@200",
        "lcr probe top-1", "lcr probe top-5", "lcr 20 % labels", "lcr 50 % labels",
        "lodisc probe top-1", "lodisc probe top-5", "lodisc 20 % labels", "lodisc 50 % labels",
    ]  # fmt: skip
    # the floors share a backbone, and the lodisc probe reads its raw summary
    *floors, _ = (row["scores"]["lodisc probe top-1"]["value"] for row in table["rows"])
    assert len(floors) == 5
    assert len(set(floors)) == 1
    assert len(table["notes"]) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--probe", "lrc"], ["no probe 'lrc'", "did you mean 'lcr'?"]),
        (["--probe-views", "2"], ["--probe-views", "add --probe lcr"]),
        (["--probe", "lcr", "--probe-views", "101"], ["101", "range"]),
    ],
)
def test_an_unknown_or_misused_probe_is_refused(
    command: Command, run: Path, arguments: list[str], words: list[str]
):
    refused(command("evaluate", run, *arguments), 2, *words)


def test_a_probe_needs_other_queries_than_its_gallery(command: Command, run: Path, photos: Path):
    folders = ("--gallery", photos / "train", "--queries", photos / "train")
    done = command("evaluate", run, *folders, "--probe", "lcr")
    refused(done, 2, "trained on the gallery and scored on the queries", "--queries")


def test_the_lodisc_probe_reads_no_bundle(command: Command, bundle: Path):
    done = command("evaluate", bundle, "--probe", "lodisc")
    refused(done, 2, "raw summary", "evaluate the run instead")
