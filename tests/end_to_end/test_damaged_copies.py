"""Damaged copies of an index, a bundle, a run and embeddings: refused, each of them, in one line.

One to eight flipped bits, cuts, zeroed blocks, appended bytes, missing and swapped files, in every
file in turn, opened as the commands open them. `make proof` opens 2,000 copies, `make test` some.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fgembed.bundle import Bundle
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.embedding.shards import embed_into
from fgembed.images.finding import find_images
from fgembed.images.sources import Listing
from fgembed.index.changes.add import add_images
from fgembed.index.changes.build import build_index
from fgembed.index.changes.remove import remove_paths
from fgembed.index.segments.segment_builder import IndexSettings
from tests.end_to_end.damaging import Spec

COPIES = int(os.environ.get("FGEMBED_DAMAGED", "120")) // 4
ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.proof


def opened(spec: Spec, work: Path) -> list[dict[str, Any]]:
    """What became of each copy, in a process that may crash."""
    (work / "copies").mkdir()
    file = work / "spec.json"
    file.write_text(json.dumps(asdict(spec)))
    command = [sys.executable, "-m", "tests.end_to_end.damaged_copies", str(file)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60 + 5 * spec.count
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"after copy {len(lines)}: {done.stderr[-3000:]}"
    *copies, memory = lines
    assert len(copies) == spec.count
    assert memory["grown_kib"] < 300_000
    return copies


def assert_refused(copies: list[dict[str, Any]]) -> None:
    """No copy crashes a reader or gives other results; all of trusted files are refused."""
    wrong = [
        copy
        for copy in copies
        for outcome in copy["outcomes"].values()
        if not outcome.startswith(("refused: ", "equal"))
    ]
    assert not wrong, json.dumps(wrong, indent=1)
    unseen = [
        copy
        for copy in copies
        if not copy["untrusted"]
        and not any(outcome.startswith("refused") for outcome in copy["outcomes"].values())
    ]
    assert not unseen, json.dumps(unseen, indent=1)
    trusted = Counter(copy["untrusted"] for copy in copies)
    sys.stdout.write(f"{trusted[False]} copies refused, {trusted[True]} harmless\n")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sound")


@pytest.mark.parametrize("cached", ["no", "yes"])
def test_every_damaged_copy_of_an_index_is_refused(
    cached: str, bundle: Path, photos: Path, workspace: Path, tmp_path: Path
):
    folder, other = workspace / f"{cached}.index", workspace / f"{cached}-other.index"
    model = Bundle.open(bundle)
    build_index(photos / "train", model, folder, settings=IndexSettings("hnsw"))
    added = sorted((photos / "test").iterdir())[0]
    add_images(folder, added, model)
    remove_paths(folder, [find_images(photos / "train")[0][5]])
    build_index(photos / "test", model, other, settings=IndexSettings("hnsw"))
    queries = OnnxEmbedder.of(model, "cpu").embed(find_images(photos / "test")[0][:3]).vectors
    np.save(tmp_path / "queries.npy", queries)
    spec = Spec(
        subject="index",
        folder=str(folder),
        other=str(other),
        untrusted=["skipped.jsonl", ".proved.json"],
        arguments={
            "cached": cached, "bundle": str(bundle), "queries": str(tmp_path / "queries.npy"),
        },
        count=COPIES // 2,
        seed=len(cached),
        work=str(tmp_path / "copies"),
    )  # fmt: skip
    assert_refused(opened(spec, tmp_path))


def test_every_damaged_copy_of_a_bundle_is_refused(
    bundle: Path, run: Path, workspace: Path, tmp_path: Path
):
    from fgembed.export.run_source import Source
    from fgembed.export.write_bundle import export_bundle

    other = export_bundle(Source.open(run, start=True), workspace / "other-bundle").folder
    spec = Spec(
        subject="bundle",
        folder=str(bundle),
        other=str(other),
        untrusted=["README.md", ".cache/*"],
        arguments={},
        count=COPIES,
        seed=3,
        work=str(tmp_path / "copies"),
    )
    assert_refused(opened(spec, tmp_path))


def test_every_damaged_copy_of_a_run_is_refused(
    tiny_settings: dict[str, Any], photos: Path, workspace: Path, tmp_path: Path
):
    from fgembed.methods.table import method_named
    from fgembed.resolve import resolve
    from fgembed.training.run import run_training

    folders = [workspace / "runs" / name for name in ("one", "two")]
    for seed, folder in enumerate(folders):
        learning = {"epochs": 1, "batch_size": 8, "learning_rate": 0.01}
        changes = {"method": {"name": "lcr", "queue_size": 16}, "optimiser": learning}
        changes |= {"seed": seed, "select": "holdout"}
        config = resolve(tiny_settings, changes, "tests")
        run_training(config, method_named("lcr"), folder, lambda progress: None)
    spec = Spec(
        subject="run",
        folder=str(folders[0]),
        other=str(folders[1]),
        untrusted=["metrics.jsonl", "skipped.jsonl", "tensorboard/*", "images.json"],
        arguments={"gallery": str(photos / "train"), "queries": str(photos / "test")},
        count=COPIES,
        seed=4,
        work=str(tmp_path / "copies"),
    )
    assert_refused(opened(spec, tmp_path))


def test_every_damaged_copy_of_embeddings_is_refused(
    bundle: Path, photos: Path, workspace: Path, tmp_path: Path
):
    bad = workspace / "bad.jpg"
    bad.write_bytes(b"no image")
    images = find_images(photos / "train")[0]
    model = Bundle.open(bundle)
    for name, paths in (("one", [*images[:13], bad, *images[13:]]), ("two", images[::-1])):
        embed_into(workspace / name, Listing([*paths]), model, part_size=10)
    spec = Spec(
        subject="embeddings",
        folder=str(workspace / "one"),
        other=str(workspace / "two"),
        untrusted=[],
        arguments={},
        count=COPIES,
        seed=5,
        work=str(tmp_path / "copies"),
    )
    assert_refused(opened(spec, tmp_path))
