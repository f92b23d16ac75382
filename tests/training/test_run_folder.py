"""The names of a run's files: those of a real run, and no others in the code."""

import ast
from pathlib import Path

import pytest

from fgembed.workspace import RunFolder
from tests.vague_names import source_files

NAMES = {
    "config.toml",
    "encoder.safetensors",
    "whitenings.safetensors",
    "metrics.jsonl",
    "images.json",
    "checkpoint.safetensors",
    "best.safetensors",
}


def test_a_finished_run_holds_these_files_and_no_others(run: Path):
    folder = RunFolder(run)
    files = [
        folder.config,
        folder.encoder.description,
        folder.encoder.weights,
        folder.start.description,
        folder.start.weights,
        folder.whitenings,
        folder.metrics,
        folder.images,
        folder.skipped,
        folder.report,
        folder.checkpoint,
    ]
    events = list(folder.tensorboard.iterdir())
    assert len(events) == 1
    assert {p for p in run.rglob("*") if p.is_file()} == {*files, *events}
    assert folder.best.parent == folder.checkpoint.parent == folder.state


def test_the_names_are_those_on_disk(tmp_path: Path):
    folder = RunFolder(tmp_path)
    assert folder.config == tmp_path / "config.toml"
    assert folder.encoder.description == tmp_path / "encoder.json"
    assert folder.encoder.weights == tmp_path / "encoder.safetensors"
    assert folder.start.path == tmp_path / "start"
    assert folder.metrics == tmp_path / "metrics.jsonl"
    assert folder.report == tmp_path / "report.json"
    assert folder.skipped == tmp_path / "skipped.jsonl"
    assert folder.checkpoint == tmp_path / "state" / "checkpoint.safetensors"
    assert folder.best == tmp_path / "state" / "best.safetensors"


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_name_is_written_in_a_single_module(name: str):
    modules = [
        path.name
        for path in source_files()
        if any(
            isinstance(node, ast.Constant) and node.value == name
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        )
    ]
    assert modules == ["workspace.py"]
