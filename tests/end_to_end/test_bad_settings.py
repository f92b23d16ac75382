"""Wrong settings, flags and folders: refused in one line, with nothing written."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from tests.conftest import Command
from tests.end_to_end.refusals import refused
from tests.sealing import edit

NO_GPU = not Path("/dev/nvidiactl").exists()


@pytest.fixture
def settings(tmp_path: Path, tiny_settings: dict[str, Any]) -> Path:
    """The tiny run's settings as `fgembed.toml`."""
    file = tmp_path / "fgembed.toml"
    file.write_text(tomli_w.dumps(tiny_settings | {"optimiser": {"batch_size": 8, "epochs": 1}}))
    return file


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("optimiser.epoch=3", ["unknown key 'optimiser.epoch'", "did you mean 'epochs'?"]),
        ("optimizer.epochs=3", ["unknown key 'optimizer'", "did you mean 'optimiser'?"]),
        ("preprocessing.sizes=64", ["unknown key 'preprocessing.sizes'", "did you mean 'size'?"]),
        ("method.mixupp=0.1", ["'distill'", "'mixupp'", "did you mean 'mixup'?"]),
        ("method.mixup=warm", ["mixup", "valid number", "got 'warm'"]),
        ("method.name=lrc", ["no method 'lrc'", "did you mean 'lcr'?"]),
        ("method=moco", ["method", "got 'moco'"]),
        ("recipe=lcr-papr", ["no recipe 'lcr-papr'", "did you mean 'lcr-paper'?"]),
        ("recipe=5", ["recipe", "valid string", "got 5"]),
        ("backbone.name=torchvision/resnet5000", ["no backbone", "did you mean 'resnet50'?"]),
        ("backbone.name=torchvision/zzz", ["no backbone", "choose from", "more"]),
        ("backbone.name=tim/resnet50", ["no backbone 'tim/resnet50'", "torchvision"]),
        ("backbone.name=resnet50", ["no backbone 'resnet50'", "<library>/<name>"]),
        ("optimiser.epochs=many", ["optimiser.epochs", "valid integer", "got 'many'"]),
        ("optimiser.batch_size=1", ["optimiser.batch_size", "2", "got 1"]),
        ("preprocessing.size=8", ["preprocessing", "size 8 is not in 16..4096"]),
        ("preprocessing.resample=sinc", ["preprocessing.resample", "'bilinear'", "got 'sinc'"]),
        ("seed=-1", ["seed", "got -1"]),
        ("optimiser.batch_size=25", ["24 images do not fill a batch of 25", "batch_size"]),
        ("max_bad", ["--set 'max_bad'", "table.key=value"]),
        ("=3", ["--set '=3'", "table.key=value"]),
    ],
)  # fmt: skip
def test_a_wrong_setting_is_refused_before_anything_is_written(
    command: Command, settings: Path, assignment: str, words: list[str]
) -> None:
    done = command("train", "--set", assignment)
    refused(done, 2, *words)
    assert len(done.err) < 400
    assert [path.name for path in settings.parent.iterdir()] == ["fgembed.toml"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("imags = 'photos'", ["fgembed.toml: unknown key 'imags'", "did you mean 'images'?"]),
        ("[eval]\ngallery = 'photos'", ["fgembed.toml", "eval needs both"]),
        ("images = [", ["fgembed.toml is not valid TOML"]),
        ("\x00", ["fgembed.toml is not valid TOML"]),
        ("images = 5", ["fgembed.toml: images", "got 5"]),
        ("recipe = 5", ["fgembed.toml: recipe", "got 5"]),
        ("method = 'lcr'", ["fgembed.toml: method", "got 'lcr'"]),
        ("", ["no folder of images is set", '"fgembed init PHOTOS"', "--images"]),
    ],
)
def test_a_wrong_settings_file_is_exit_2(
    command: Command, tmp_path: Path, text: str, words: list[str]
) -> None:
    (tmp_path / "fgembed.toml").write_text(text)
    refused(command("train"), 2, *words)
    assert not Path("runs").exists()


@pytest.mark.parametrize("labelled", ["gone", "flat"])
def test_wrong_labelled_folders_are_refused_before_the_training(
    command: Command, settings: Path, photos: Path, labelled: str
) -> None:
    Path("flat").mkdir()
    shutil.copy(next(photos.rglob("*.jpg")), "flat")
    done = command("train", "--set", f"eval.queries={labelled}")
    refused(done, 1, "no folder at gone" if labelled == "gone" else "is in no class folder")
    assert not Path("runs").exists()


@pytest.mark.parametrize("name", ["../up", "a/b", "latest", ".."])
def test_a_run_name_is_one_folder(command: Command, settings: Path, name: str) -> None:
    refused(command("train", "--run", name), 2, f"--run '{name}'", "runs")


def test_an_existing_run_is_not_trained_over(command: Command, settings: Path) -> None:
    Path("runs/mine").mkdir(parents=True)
    refused(command("train", "--run", "mine"), 1, "runs/mine exists", "--resume", "--run NAME")
    assert list(Path("runs/mine").iterdir()) == []


def test_a_refused_training_leaves_the_latest_run_the_latest(
    command: Command, settings: Path
) -> None:
    Path("runs/good").mkdir(parents=True)
    Path("runs/latest").symlink_to("good")
    refused(command("train", "--set", "method.queue_size=-1"), 2, "queue_size")
    assert Path("runs/latest").resolve().name == "good"
    assert sorted(path.name for path in Path("runs").iterdir()) == ["good", "latest"]


def test_resuming_with_other_settings_is_exit_2(command: Command) -> None:
    refused(command("train", "--resume", "--set", "seed=1"), 2, "--resume", "own settings")


def test_resuming_nothing_is_exit_1(command: Command) -> None:
    refused(command("train", "--resume"), 1, "no run at runs/latest", '"fgembed train"')


def test_init_keeps_the_settings_that_are_there(command: Command, photos: Path) -> None:
    Path("fgembed.toml").write_text("mine")
    refused(command("init", photos), 1, "fgembed.toml exists")
    assert Path("fgembed.toml").read_text() == "mine"


@pytest.mark.parametrize(
    ("command_line", "words"),
    [
        (["search", "x.jpg", "-k", "0"], ["'-k'", '"fgembed search --help"']),
        (["search", "x.jpg", "-k", "many"], ["'-k'", "many"]),
        (["search", "x.jpg", "--device", "tpu"], ["'--device'", "'tpu'", "'cuda'"]),
        (["search"], ["no query", '"fgembed search --help"']),
        (["search", "x.jpg", "--colour"], ["no such option", "--colour"]),
        (["index", "build", "--kind", "round"], ["'round'", "flat, ivf, ivfpq"]),
        (["index", "build", "--max-bad", "1.5"], ["'--max-bad'"]),
        (["sarch"], ["sarch"]),
        (["\x1b[31msearch\n"], ["\\x1b[31msearch"]),
    ],
)
def test_a_wrong_command_line_is_one_line(
    command: Command, command_line: list[str], words: list[str]
) -> None:
    refused(command(*command_line), 2, *words)


@pytest.mark.parametrize("group", [[], ["index"]])
def test_without_a_command_the_help_is_the_answer(command: Command, group: list[str]) -> None:
    done = command(*group)
    assert (done.code, done.err) == (2, "")
    assert "Usage: fgembed" in done.out


@pytest.mark.skipif(not NO_GPU, reason="a GPU is there")
@pytest.mark.parametrize("kind", ["search", "build", "evaluate"])
def test_cuda_without_a_gpu_is_exit_4(
    command: Command, bundle: Path, index: Path, run: Path, photos: Path, kind: str
) -> None:
    command_line = {
        "search": ["search", next(photos.rglob("*.jpg")), "--index", index],
        "build": ["index", "build", photos, "--bundle", bundle],
        "evaluate": ["evaluate", run],
    }[kind]
    done = command(*command_line, "--device", "cuda")
    refused(done, 4, "device cuda was requested", '"fgembed doctor"', "--device cpu")


@pytest.mark.skipif(not NO_GPU, reason="a GPU is there")
def test_training_on_cuda_without_a_gpu_is_exit_4(command: Command, settings: Path) -> None:
    done = command("train", "--device", "cuda")
    refused(done, 4, "device cuda was requested", "sees no GPU", "--device cpu")
    assert not Path("runs").exists()


def test_a_bundle_without_its_run_cannot_be_scored(
    command: Command, bundle: Path, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(bundle, tmp_path / "bundle")
    file = tmp_path / "bundle" / "config.json"
    edit(file, source_run="/gone/run")
    done = command("evaluate", "bundle", "--gallery", photos, "--queries", photos)
    refused(done, 1, "/gone/run", "floor", "--floor")


def test_pictures_without_class_folders_cannot_be_scored(
    command: Command, run: Path, photos: Path
) -> None:
    flat = next(folder for folder in sorted((photos / "train").iterdir()) if folder.is_dir())
    done = command("evaluate", run, "--gallery", flat, "--queries", flat)
    refused(done, 1, "is in no class folder", f"{flat}/<class>/")


def test_escape_sequences_in_a_name_never_reach_the_terminal(
    command: Command, bundle: Path, photos: Path
) -> None:
    hostile = Path("\x1b]0;owned\x07\x1b[2J")
    hostile.mkdir()
    shutil.copy(next(photos.rglob("*.jpg")), hostile / "\x1b[31mred.jpg")
    shutil.copy(next(photos.rglob("*.jpg")), hostile / "plain.jpg")
    (hostile / "\x1b[32mbad.jpg").write_bytes(b"")
    built = command("index", "build", hostile, "--bundle", bundle, "--out", "\x1b[33mindex")
    found = command("search", hostile / "\x1b[31mred.jpg", "--index", "\x1b[33mindex")
    begun = command("init", hostile)
    lost = command("search", hostile / "\x1b[32mbad.jpg", "--index", "\x1b[33mindex")
    assert [done.code for done in (built, found, begun, lost)] == [0, 0, 0, 1]
    assert "\\x1b[31mred.jpg" in found.out
    assert "\\x1b[32mbad.jpg" in built.out
    for done in (built, found, begun, lost):
        assert "\x1b" not in done.out + done.err
        assert "\x07" not in done.out + done.err


def test_a_missing_extra_is_one_line(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchvision", None)
    refused(command("train"), 1, "torchvision", "pip install 'fgembed[train]'")


def test_our_own_bugs_show_their_traceback(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("fgembed.images.finding.scan", broken)
    with pytest.raises(ZeroDivisionError):
        command("init", "photos")
