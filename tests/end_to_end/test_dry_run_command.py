"""`train --dry-run`: what it prints, that it writes nothing, that it refuses what a run does."""

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tests.conftest import Command
from tests.end_to_end.refusals import refused

NO_GPU = not Path("/dev/nvidiactl").exists()


@pytest.fixture
def settings(tmp_path: Path, tiny_settings: dict[str, Any]) -> Path:
    """The tiny run's settings as `fgembed.toml`."""
    extra = {
        "method": {"name": "neighbours", "queue_size": 16},
        "optimiser": {"batch_size": 8, "epochs": 1},
    }
    file = tmp_path / "fgembed.toml"
    file.write_text(tomli_w.dumps(tiny_settings | extra))
    return file


def tree(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Every file and link below `folder`, with its time and content."""
    return {
        str(path): (path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(folder.rglob("*"))
    }


def test_nothing_at_all_is_written(
    command: Command, settings: Path, tmp_path: Path, photos: Path
) -> None:
    Path("runs/good").mkdir(parents=True)
    Path("runs/latest").symlink_to("good")
    before = tree(tmp_path), tree(photos)
    assert command("train", "--dry-run").code == 0
    assert (tree(tmp_path), tree(photos)) == before
    assert Path("runs/latest").readlink() == Path("good")


def test_the_output_is_a_settings_file_that_says_the_estimate(
    command: Command, settings: Path
) -> None:
    done = command("train", "--dry-run")
    assert done.code == 0
    assert done.err == "taking a few steps\n"
    lines = {line[2:14].strip(): line[15:] for line in done.out.splitlines() if line[:2] == "# "}
    assert lines["images"] == "24, not yet checked"
    # resnet18 to layer 1 has 157,504, of which its convolution and norm are frozen
    assert lines["trained"] == "147,968 encoder, 20,928 heads"
    assert lines["not trained"].startswith("178,432 key copies, 9,536 fixed, ")
    assert lines["steps"] == "3 per epoch, 3 in total"
    assert " s of it waiting for images (measured on 2)" in lines["one step"]
    assert lines["training"].startswith("about ")
    assert lines["checkpoint"].endswith(" MB on disk")
    told = [line.removeprefix("#   ") for line in done.out.splitlines() if line[:4] == "#   "]
    heads = [line.split("  ")[0] for line in told]
    assert heads == [
        "encoder", "as it will be exported", "without the mirror image", "at 1.4 x the size",
        "mean pooling alone", "stage", "checking the images", "training, 1 x 3 steps",
        "fitting the last layers", "measuring", "in all",
    ]  # fmt: skip
    assert told[0].split() == ["encoder", "px", "mirror", "levels", "D", "images/s"]
    Path("again.toml").write_text(done.out)
    again = command("train", "--dry-run", "--config", "again.toml", "--json")
    assert json.loads(again.out)["config"] == tomllib.loads(done.out)
    assert tomllib.loads(done.out)["method"]["temperature"] == 0.2


def test_json_is_one_object_with_everything(command: Command, settings: Path) -> None:
    found = json.loads(command("train", "--dry-run", "--json").out)
    assert set(found) == {
        "config", "device", "pictures", "passed_over", "parameters", "steps_per_epoch", "steps",
        "pace", "peak_memory_bytes", "peak_memory_of", "checkpoint_bytes", "training_s",
        "encoders", "stages_s",
    }  # fmt: skip
    assert [
        (cost["size"], cost["mirror"], cost["levels"], cost["dimensions"])
        for cost in found["encoders"]
    ] == [(64, True, 2, 16), (64, False, 2, 16), (96, True, 2, 16), (64, False, 1, 64)]
    assert found["stages_s"]["training"] >= found["training_s"]
    assert set(found["pace"]) == {"step_s", "waiting_s", "measured"}
    assert (found["steps"], found["parameters"]["encoder"]) == (3, 147968)
    assert found["config"]["method"]["queue_size"] == 16


def test_without_training_it_says_so(command: Command, settings: Path) -> None:
    trained = 'name = "neighbours"\nqueue_size = 16'
    settings.write_text(settings.read_text().replace(trained, 'name = "none"'))
    done = command("train", "--dry-run")
    assert done.code == 0
    assert "# training     none: only whitening and measuring" in done.out
    found = json.loads(command("train", "--dry-run", "--json").out)
    assert (found["steps"], found["pace"], found["training_s"]) == (0, None, 0.0)


@pytest.mark.parametrize(
    ("assignment", "code"),
    [
        ("optimiser.batch_size=25", 2),
        ("method.queue_size=4", 2),
        ("method.temprature=0.1", 2),
        ("method.name=lrc", 2),
        ("optimiser.epochs=many", 2),
        ("backbone.name=torchvision/zzz", 2),
        ("images=gone", 1),
        ("images=unreadable", 3),
        ("eval.queries=gone", 1),
        pytest.param(
            "device=cuda", 4, marks=pytest.mark.skipif(not NO_GPU, reason="a GPU is there")
        ),
    ],
)
def test_what_a_run_refuses_is_refused_in_the_same_words(
    command: Command, settings: Path, assignment: str, code: int
) -> None:
    Path("unreadable").mkdir()
    for number in range(8):
        Path(f"unreadable/{number}.jpg").write_bytes(b"no picture")
    done = command("train", "--dry-run", "--set", assignment)
    real = command("train", "--set", assignment)
    assert done.err == real.err.splitlines(keepends=True)[-1]
    refused(done, code)
    assert not Path("runs").exists()


def test_a_run_that_is_in_the_way_is_refused(command: Command, settings: Path) -> None:
    Path("runs/mine").mkdir(parents=True)
    refused(command("train", "--dry-run", "--run", "mine"), 1, "runs/mine exists")


def test_it_does_not_go_with_resume(command: Command) -> None:
    refused(command("train", "--dry-run", "--resume"), 2, "--dry-run", "leave out --resume")
