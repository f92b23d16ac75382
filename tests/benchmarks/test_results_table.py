"""The table of results, on run folders made up here and on a real one."""

import json
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from benchmarks.finished_run import Run
from benchmarks.results_table import markdown
from fgembed.errors import FgembedError
from fgembed.resolve import resolve

METRICS = ("recall@1", "recall@5", "precision@10", "mAP", "mAP@R", "kNN")


def row(encoder: str, recall: float, dimensions: int = 512) -> dict[str, Any]:
    """A table row; each further metric is 0.05 less."""
    scores = {
        name: {"value": recall - 0.05 * number, "low": 0.0, "high": 1.0}
        for number, name in enumerate(METRICS)
    }
    return {"encoder": encoder, "dimensions": dimensions, "scores": scores}


def make_run(
    folder: Path, recipe: str, seed: int, recall: float, images_per_s: float, **extra: Any
) -> Run:
    """A run of 100 pictures, in batches of 64 or, from a paper's recipe, of 50."""
    paper = recipe.endswith("-paper")
    learning = {"epochs": 2, "batch_size": 50 if paper else 64}
    given = {"recipe": recipe, "images": "photos", "seed": seed, "optimiser": learning}
    config = resolve(given, extra, "tests").model_dump(mode="json", exclude_none=True)
    floor = 0.50 if paper else 0.55
    table = {
        "rows": [
            row("untouched start, mean pooling", floor - 0.05, 1280),
            row("untouched start, GeM + whitening", floor),
            row(f"run {folder.name}", recall),
        ],
        "protocol": "queries against gallery",
        "queries": 40,
        "gallery": 100,
        "classes": 5,
        "skipped": 0,
    }
    folder.mkdir()
    (folder / "config.toml").write_text(tomli_w.dumps(config))
    (folder / "report.json").write_text(json.dumps({"images": 100, "table": table}))
    lines = [{"step": step, "images_per_s": images_per_s} for step in (0, 1)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Run.read(folder)


def cells(table: str, start: str) -> list[str]:
    """The cells of the one line that begins so."""
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {start} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_is_the_mean_and_the_range_over_the_seeds(tmp_path: Path):
    runs = [
        make_run(tmp_path / "a", "moco", 0, 0.60, 64.0),
        make_run(tmp_path / "b", "lcr", 0, 0.62, 32.0),
        make_run(tmp_path / "c", "lcr", 1, 0.66, 32.0, threads=4),
    ]
    table = markdown(runs, None)
    assert cells(table, "moco (recommended)") == [
        "moco (recommended)", "0", "512", "60.0", "55.0", "50.0", "45.0", "40.0", "35.0", "1.00",
    ]  # fmt: skip
    assert cells(table, "lcr (recommended)") == [
        "lcr (recommended)", "0, 1", "512", "64.0 (62.0..66.0)", "59.0 (57.0..61.0)",
        "54.0 (52.0..56.0)", "49.0 (47.0..51.0)", "44.0 (42.0..46.0)", "39.0 (37.0..41.0)", "2.00",
    ]  # fmt: skip
    assert cells(table, "untouched start, mean pooling")[:4] == [
        "untouched start, mean pooling", "", "1280", "50.0",
    ]  # fmt: skip
    assert cells(table, "untouched start, GeM + whitening")[3] == "55.0"
    assert "40 queries, 100 gallery images, 5 classes. Percent" in table


def test_each_preprocessing_has_its_own_floors_and_its_own_moco(tmp_path: Path):
    runs = [
        make_run(tmp_path / "a", "moco", 0, 0.60, 64.0),
        make_run(tmp_path / "b", "lcr-paper", 0, 0.30, 20.0),
        make_run(tmp_path / "c", "moco-paper", 0, 0.40, 30.0),
    ]
    squash, crop = markdown(runs, None).split("### crop to 224 px, torchvision/resnet50")
    assert squash.startswith("### squash to 224 px, torchvision/resnet50")
    assert cells(squash, "untouched start, GeM + whitening")[3] == "55.0"
    assert cells(crop, "untouched start, GeM + whitening")[3] == "50.0"
    assert cells(crop, "lcr (paper)")[-1] == "1.50"
    assert cells(squash, "moco (recommended)")[3] == "60.0"


def test_a_measured_step_cost_is_taken_by_recipe(tmp_path: Path):
    runs = [
        make_run(tmp_path / "a", "moco", 0, 0.60, 64.0),
        make_run(tmp_path / "b", "lcr", 0, 0.62, 32.0),
        make_run(tmp_path / "c", "lcr-paper", 0, 0.30, 32.0),
    ]
    about: dict[str, Any] = {
        "backbone": "x/y",
        "size": 128,
        "batch": 32,
        "threads": 2,
        "machine": "abacus",
    }
    about["set"] = ["lcr.weight=2"]
    methods = {"moco": {"recipe": "moco", "ratio": 1.0}, "lcr": {"recipe": "lcr", "ratio": 1.034}}
    table = markdown(runs, about | {"methods": methods})
    assert cells(table, "lcr (recommended)")[-1] == "1.03"
    assert cells(table, "lcr (paper)")[-1] == "-"
    assert "x/y, 128 px, batch 32, 2 threads, abacus, with lcr.weight=2." in table


def test_an_epoch_is_timed_over_all_its_steps(tmp_path: Path):
    """Three steps at 50 pictures a second, then one at 25: 50 pictures a step, two an epoch."""
    run = make_run(tmp_path / "a", "moco-paper", 0, 0.6, 50.0)
    lines = [{"step": 2, "images_per_s": 50.0}, {"step": 3, "images_per_s": 25.0}]
    (run.folder / "metrics.jsonl").write_text("\n".join(json.dumps(line) for line in lines))
    assert Run.read(run.folder).epoch_s == pytest.approx((3 * 1.0 + 2.0) / 4 * 2)


def test_a_run_that_trained_nothing_has_no_time(tmp_path: Path):
    run = make_run(tmp_path / "a", "none", 0, 0.55, 64.0)
    (run.folder / "metrics.jsonl").unlink()
    table = markdown([Run.read(run.folder)], None)
    assert cells(table, "none (recommended)")[-1] == "-"


def test_other_floors_under_the_same_start_are_refused(tmp_path: Path):
    runs = [make_run(tmp_path / name, "moco", 0, 0.60, 64.0) for name in "ab"]
    report = json.loads((tmp_path / "b" / "report.json").read_text())
    report["table"]["rows"][1]["scores"]["mAP"]["value"] += 0.01
    (tmp_path / "b" / "report.json").write_text(json.dumps(report))
    with pytest.raises(FgembedError, match=r"share their start but not its mAP .*0\.4000"):
        markdown([runs[0], Run.read(tmp_path / "b")], None)


def test_a_run_of_an_earlier_fgembed_has_no_precision_at_10(tmp_path: Path):
    """Neither has a row of which it is one; the floors show what the first run has."""
    runs = [make_run(tmp_path / name, "moco", seed, 0.60, 64.0) for seed, name in enumerate("ab")]
    report = json.loads((tmp_path / "b" / "report.json").read_text())
    for row in report["table"]["rows"]:
        del row["scores"]["precision@10"]
    (tmp_path / "b" / "report.json").write_text(json.dumps(report))
    table = markdown([runs[0], Run.read(tmp_path / "b")], None)
    columns = cells(table, "encoder")
    found = dict(zip(columns, cells(table, "moco (recommended)"), strict=True))
    assert found["precision@10"] == "-"
    assert found["mAP"] == "45.0 (45.0..45.0)"
    floor = dict(zip(columns, cells(table, "untouched start, mean pooling"), strict=True))
    assert (floor["precision@10"], floor["mAP"]) == ("40.0", "35.0")
    other = markdown([Run.read(tmp_path / "b"), runs[0]], None)
    assert cells(other, "untouched start, mean pooling")[columns.index("precision@10")] == "-"


def test_runs_of_one_recipe_that_differ_in_more_than_the_seed_are_refused(tmp_path: Path):
    runs = [
        make_run(tmp_path / "a", "moco", 0, 0.60, 64.0),
        make_run(tmp_path / "b", "moco", 1, 0.60, 64.0, optimiser={"learning_rate": 0.5}),
    ]
    with pytest.raises(FgembedError, match=r"differ in optimiser\.learning_rate \(0\.03, 0\.5\)"):
        markdown(runs, None)


def test_an_unfinished_run_and_one_without_scores_are_refused(tmp_path: Path):
    with pytest.raises(FgembedError, match=r"holds no report\.json"):
        Run.read(tmp_path)
    make_run(tmp_path / "a", "moco", 0, 0.6, 64.0)
    (tmp_path / "a" / "report.json").write_text(json.dumps({"images": 100, "table": None}))
    with pytest.raises(FgembedError, match="has no scores"):
        Run.read(tmp_path / "a")


def test_a_real_run_folder_is_read(run: Path):
    found = Run.read(run)
    report = json.loads((run / "report.json").read_text())
    assert found.label == "lcr (recommended)"
    assert len(found.floors) == len(report["table"]["rows"]) - 1
    trained = report["table"]["rows"][-1]["scores"]["recall@1"]["value"]
    assert found.trained.scores["recall@1"] == trained
    assert found.epoch_s is not None
    assert cells(markdown([found], None), "lcr (recommended)")[3] == f"{100 * trained:.1f}"
