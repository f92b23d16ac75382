"""The guard at the command line: a run below its floor, the start in its place, no labels."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from fgembed.bundle import Bundle
from fgembed.cli.train.run import print_report
from fgembed.disk.files import read_json, sha256
from fgembed.disk.json_records import record
from fgembed.evaluation.guard import Verdict
from fgembed.evaluation.label_free import Figures
from fgembed.training.run_report import RunReport
from tests.conftest import SIZE, TINY, Command
from tests.end_to_end.refusals import refused
from tests.sealing import edit, write_with_checksum

BELOW = {
    "outcome": "below",
    "by": "labels",
    "trained": 0.416,
    "floor": 0.573,
    "sentence": "recall@1 41.6 against 57.3 of the calibrated start",
}


@pytest.fixture
def below(run: Path, tmp_path: Path) -> Path:
    """The run, had it lost to its start."""
    folder = tmp_path / "runs" / "moco-1"
    shutil.copytree(run, folder)
    edit(folder / "report.json", guard=BELOW)
    return folder


def test_a_run_below_its_floor_is_refused_with_the_ways_on(command: Command, below: Path):
    done = command("export", "moco-1")
    refused(
        done, 1, "runs/moco-1 is below its floor: recall@1 41.6 against 57.3 of the calibrated",
        'export the start with "fgembed export runs/moco-1 --start"', "with --force",
    )  # fmt: skip
    assert not Path("bundle").exists()


@pytest.mark.slow
def test_a_forced_bundle_says_that_it_is_below_its_floor(command: Command, below: Path):
    done = command("export", "moco-1", "--force", "--json")
    assert (done.code, json.loads(done.out)["guard"]) == (0, BELOW)
    card = Path("bundle/README.md").read_text()
    stated = "Exported by `--force` although it is below its floor: recall@1 41.6 against 57.3"
    assert stated in card
    assert "| run tiny | 16 |" in card


@pytest.mark.slow
def test_the_start_in_place_of_a_run_is_a_bundle_like_any_other(
    command: Command, below: Path, photos: Path
):
    assert command("export", "moco-1", "--start").code == 0
    bundle = Bundle.open(Path("bundle"), every_file=True)
    assert bundle.config.method == "none"
    assert bundle.config.files["model.safetensors"] == sha256(below / "start/encoder.safetensors")
    card = Path("bundle/README.md").read_text()
    assert "torchvision/resnet18:layer1, untouched start" in card
    assert "Guard: passed: nothing was trained" in card
    assert "| run " not in card
    assert card.count("| untouched start") == 5
    table = json.loads(command("evaluate", "bundle", "--json").out)
    *_, floor, itself = table["rows"]
    assert itself["encoder"] == "bundle bundle"
    assert itself["scores"] == floor["scores"]
    none = {"value": 0.0, "low": 0.0, "high": 0.0}
    assert table["gains"] == {"recall@1": none, "precision@10": none, "mAP": none}
    assert command("index", "build", photos / "train").code == 0


@pytest.mark.slow
def test_a_run_of_an_earlier_fgembed_is_exported_without_precision_at_10(
    command: Command, below: Path
):
    table = read_json(below / "report.json", "report")["table"]
    for row in table["rows"]:
        del row["scores"]["precision@10"]
    early = {key: value for key, value in table.items() if key != "gains"}
    edit(below / "report.json", table=early | {"gain": table["gains"]["recall@1"]})
    done = command("export", "moco-1", "--force")
    assert done.code == 0, done.err
    header, *lines = (
        line.split(" | ")
        for line in Path("bundle/README.md").read_text().splitlines()
        if line.startswith(("| encoder", "| untouched", "| run"))
    )
    assert len(lines) == 6
    column = header.index("precision@10")
    assert {line[column] for line in lines} == {"-"}
    assert all("[" in line[column + 1] for line in lines)


def test_start_and_force_together_are_a_usage_error(command: Command, below: Path):
    refused(command("export", "moco-1", "--start", "--force"), 2, "--start", "give one of them")


def test_a_report_without_a_verdict_is_refused_with_the_remedy(command: Command, below: Path):
    report = read_json(below / "report.json", "report")
    content = {key: report[key] for key in report if key != "guard"}
    write_with_checksum(below / "report.json", content)
    refused(command("export", "moco-1"), 5, "no sound verdict", "train --resume --run runs/moco-1")


def test_a_training_that_ends_below_its_floor_leads_to_the_start(
    capsys: pytest.CaptureFixture[str],
):
    figures, verdict = Figures(1.0, 0.0, 0.0), record(Verdict, BELOW)
    report = RunReport("moco", 24, 0, None, [], figures, figures, None, verdict)
    print_report(report, Path("runs/moco-1"), as_json=False)
    *_, guard, following = capsys.readouterr().out.splitlines()
    assert guard == f"guard: below its floor: {BELOW['sentence']}"
    assert following.startswith('next: "fgembed export --start"')
    print_report(report, Path("runs/moco-1"), as_json=True)
    assert json.loads(capsys.readouterr().out)["guard"] == BELOW


def train(command: Command, photos: Path, *arguments: object) -> Any:
    done = command(
        "train", "--images", photos / "train", "--backbone", TINY, "--weights", "random",
        "--set", f"preprocessing.size={SIZE}", "--set", "workers=0",
        "--set", "pooling.whitening=16", "--set", "optimiser.epochs=1",
        "--set", "optimiser.batch_size=8", *arguments,
    )  # fmt: skip
    assert done.code == 0, done.err
    return done.out


def test_the_verdict_with_labels_is_that_of_the_table(run: Path):
    report = read_json(run / "report.json", "report")
    floor, trained = (row["scores"] for row in report["table"]["rows"][-2:])
    gains = report["table"]["gains"]
    of_first = floor["recall@1"]["value"], trained["recall@1"]["value"]
    assert (report["guard"]["floor"], report["guard"]["trained"]) == of_first
    for name in ("recall@1", "precision@10", "mAP"):
        gained = trained[name]["value"] - floor[name]["value"]
        assert gains[name]["value"] == pytest.approx(gained)
    worse = any(gain["high"] < 0 for gain in gains.values())
    assert report["guard"]["outcome"] == ("below" if worse else "passed")


@pytest.mark.slow
def test_untrained_runs_pass_and_resuming_a_run_gives_its_verdict_again(
    command: Command, photos: Path
):
    shown = train(command, photos, "--method", "none")
    assert "guard: passed: nothing was trained, this is the calibrated start itself" in shown
    assert shown.endswith('next: "fgembed export --onnx"\n')
    again = json.loads(command("train", "--resume", "--json").out)
    assert (again["guard"]["outcome"], again["guard"]["by"]) == ("passed", "weights")


@pytest.mark.slow
def test_without_labels_the_start_is_exported_in_place_of_a_run(command: Command, photos: Path):
    gentle = ("--method", "moco", "--set", "optimiser.learning_rate=1e-6")
    shown = train(command, photos, *gentle, "--set", "method.queue_size=16")
    unknown = re.search(r"guard: not known to be above its floor: (\d+\.\d) % of .*", shown)
    assert unknown
    assert f"of them against {unknown[1]} by the calibrated start, +0.0 [" in unknown[0]
    assert "the calibrated start is exported in its place; a small labelled slice" in unknown[0]
    done = command("export")
    assert done.code == 0
    passed = "passed: this is the calibrated start, for without labels nothing tells whether moco"
    assert f"guard: {passed}" in done.out
    assert "--force exports the run; a small labelled slice decides" in done.out
    card = Path("bundle/README.md").read_text()
    assert f"Guard: {passed}" in card
    assert "Without its floor no score is shown" in card
    start = Path("runs/latest/start/encoder.safetensors")
    assert sha256(Path("bundle/model.safetensors")) == sha256(start)
    assert command("export", "--force").code == 0
    forced = Path("bundle/README.md").read_text()
    assert "Exported by `--force` although it is not known to be above its floor: " in forced
    trained = Path("runs/latest/encoder.safetensors")
    assert sha256(Path("bundle/model.safetensors")) == sha256(trained)


@pytest.mark.slow
def test_without_labels_a_distilled_run_is_exported(command: Command, photos: Path):
    shown = train(command, photos, "--method", "distill")
    assert "the run is better: it has learned from its start, and is exported; a small" in shown
    assert command("export").code == 0
    assert "Guard: not known to be above its floor: " in Path("bundle/README.md").read_text()
    trained = Path("runs/latest/encoder.safetensors")
    assert sha256(Path("bundle/model.safetensors")) == sha256(trained)
