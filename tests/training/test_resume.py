"""What must stay the same between a checkpoint and its resume: settings and images."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from fgembed.config import RunConfig, validate
from fgembed.disk.files import read_toml
from fgembed.errors import BadImagesError, ConfigError, FgembedError, IntegrityError
from fgembed.methods.lcr import LCR
from fgembed.progress import silent
from fgembed.questions import Answers
from fgembed.resolve import merge, resolve
from fgembed.training.loop import Progress
from fgembed.training.resuming.checkpoint import read_position
from fgembed.training.resuming.fingerprint import (
    FREE,
    FREE_BY_SELECTION,
    LATER,
    Fingerprint,
    check_settings,
    image_checksums,
    trajectory_settings,
)
from fgembed.training.run import ReadyRun, prepare, run_training
from fgembed.workspace import RunFolder
from tests.conftest import TINY, Command
from tests.end_to_end.refusals import refused


class Killed(BaseException):
    """Stands in for a kill: nothing in the product catches it."""


@dataclass(frozen=True)
class SavedRun:
    """A run with a checkpoint after its first epoch, and its own copy of the images."""

    folder: RunFolder
    images: Path

    def config(self, changes: Mapping[str, Any]) -> RunConfig:
        """Its settings with changes, as from an edited `config.toml`."""
        return validate(RunConfig, merge(read_toml(self.folder.config), changes), "config.toml")

    def prepare(self, changes: Mapping[str, Any]) -> ReadyRun:
        """What `--resume` does before it trains."""
        return prepare(self.config(changes), LCR, self.folder, silent)

    def figures(self) -> list[tuple[int, float]]:
        """Step and loss of every line of its log."""
        lines = [json.loads(line) for line in self.folder.metrics.read_text().splitlines()]
        return [(line["step"], line["contrast"]) for line in lines]


@pytest.fixture(scope="module")
def original(
    tiny_settings: dict[str, Any], photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> SavedRun:
    folder = tmp_path_factory.mktemp("resume")
    shutil.copytree(photos / "train", folder / "images")
    settings = {
        "images": str(folder / "images"),
        "method": {"name": "lcr", "queue_size": 16},
        "optimiser": {"epochs": 2, "batch_size": 8, "learning_rate": 0.01, "log_every_step": True},
    }
    plain = {key: value for key, value in tiny_settings.items() if key != "eval"}

    def report(progress: Progress) -> None:
        if progress.step == 5:
            raise Killed

    run = folder / "runs" / "killed"
    with pytest.raises(Killed):
        run_training(resolve(plain, settings, "tests"), LCR, run, report)
    return SavedRun(RunFolder(run), folder / "images")


@pytest.fixture
def killed(original: SavedRun, tmp_path: Path) -> SavedRun:
    """A copy for a test of its own."""
    return copied(original, tmp_path)


@pytest.fixture
def saved(run: Path, photos: Path, tmp_path: Path) -> SavedRun:
    """A copy of the finished run, of one epoch: resuming it needs no training."""
    return copied(SavedRun(RunFolder(run), photos / "train"), tmp_path)


def copied(run: SavedRun, target: Path) -> SavedRun:
    """Run and images below `target`; the images keep their paths below their folder."""
    copy = SavedRun(RunFolder(target / "runs" / "copy"), target / "images")
    shutil.copytree(run.images, copy.images)
    shutil.copytree(run.folder.path, copy.folder.path)
    config = read_toml(run.folder.config) | {"images": str(copy.images)}
    copy.folder.config.write_text(tomli_w.dumps(config))
    return copy


def flattened(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def contents(folder: Path) -> dict[Path, tuple[int, bytes]]:
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize(
    ("changes", "fact", "before"),
    [
        ({"seed": 1}, "seed is 1", "0"),
        ({"precision": "bfloat16"}, 'precision is "bfloat16"', '"float32"'),
        ({"select": "holdout", "holdout_share": 0.3}, 'select is "holdout"', '"last"'),
        ({"backbone": {"frozen": 0.5}}, "backbone.frozen is 0.5", "0.0"),
        ({"backbone": {"freeze_statistics": False}}, "backbone.freeze_statistics is false", "true"),
        ({"preprocessing": {"size": 48}}, "preprocessing.size is 48", "64"),
        ({"backbone": {"name": f"{TINY[:-1]}2"}}, 'backbone.name is ".*:layer2"', f'"{TINY}"'),
        ({"pooling": {"levels": [0.5]}}, r"pooling.levels is \[0.5\]", r"\[0.72, 0.89\]"),
        ({"method": {"temperature": 0.5}}, "method.temperature is 0.5", "0.2"),
        ({"method": {"queue_size": 24}}, "method.queue_size is 24", "16"),
        ({"optimiser": {"name": "adamw"}}, 'optimiser.name is "adamw"', '"sgd"'),
        ({"optimiser": {"batch_size": 12}}, "optimiser.batch_size is 12", "8"),
        ({"optimiser": {"epochs": 2}}, "optimiser.epochs is 2", "1"),
        ({"optimiser": {"learning_rate": 0.02}}, "optimiser.learning_rate is 0.02", "0.01"),
        ({"optimiser": {"decay": "epoch"}}, 'optimiser.decay is "epoch"', '"step"'),
        ({"views": {"crop_scale": 0.5}}, "views.crop_scale is 0.5", "0.4"),
        # the first one in the order of the file is named
        ({"seed": 2, "optimiser": {"batch_size": 4}}, "seed is 2", "0"),
    ],
    ids=lambda value: value if isinstance(value, str) and " is " in value else "",
)
def test_an_edited_setting_of_the_trajectory_is_refused(
    saved: SavedRun, changes: dict[str, Any], fact: str, before: str
):
    files = contents(saved.folder.path)
    words = rf"^{fact} in .*/config\.toml, but was {before} up to the checkpoint; set it back to "
    with pytest.raises(ConfigError, match=rf"{words}{before}, or start a new run$"):
        saved.prepare(changes)
    assert contents(saved.folder.path) == files


def test_the_command_names_an_edited_setting_in_one_line(
    command: Command, saved: SavedRun, tmp_path: Path
):
    text = saved.folder.config.read_text()
    assert "batch_size = 8" in text
    saved.folder.config.write_text(text.replace("batch_size = 8", "batch_size = 6"))
    refused(
        command("train", "--resume", "--run", "copy"),
        2,
        "optimiser.batch_size is 6 in runs/copy/config.toml, but was 8 up to the checkpoint",
        "set it back to 8, or start a new run",
    )


@pytest.mark.slow
def test_settings_beside_the_trajectory_may_change(
    killed: SavedRun, original: SavedRun, photos: Path
):
    """All of them at once; the last steps are those that an unchanged resume takes."""
    changes = {
        "device": "cpu",
        "workers": 1,
        "threads": 2,
        "max_bad": 0.25,
        "include_clutter": True,
        "recipe": "lcr",
        "checkpoint_every_s": 7.0,
        "holdout_share": 0.2,
        "optimiser": {"log_every_step": True},
        "pooling": {
            "whitening": 8,
            "shrinkage": 0.5,
            "mirror": False,
            "level_weight": 0.25,
            "mean_weight": 0.0,
            "larger": 2.0,
            "ridge": 0.5,
        },
        "eval": {"gallery": str(photos / "train"), "queries": str(photos / "test")},
    }
    changed = set(flattened(changes)) | {"images"}
    assert changed == FREE | FREE_BY_SELECTION["last"]
    report = run_training(killed.config(changes), LCR, killed.folder.path, silent)
    assert report.table is not None
    assert report.table.rows[-1].dimensions == 8
    shutil.copytree(original.folder.path, killed.folder.path.with_name("unchanged"))
    unchanged = SavedRun(RunFolder(killed.folder.path.with_name("unchanged")), original.images)
    run_training(unchanged.config({}), LCR, unchanged.folder.path, silent)
    assert [step for step, _ in killed.figures()] == [0, 1, 2, 3, 4, 5]
    for (_, loss), (_, expected) in zip(killed.figures(), unchanged.figures(), strict=True):
        assert loss == pytest.approx(expected, rel=1e-4)  # two threads add in another order


def test_a_run_from_before_a_setting_existed_goes_on(killed: SavedRun):
    """The settings that came later are in neither its file nor its checkpoint."""
    former = trajectory_settings(killed.config({}))
    assert not LATER.keys() & (former.keys() - {"preprocessing.version"})
    settings = read_toml(killed.folder.config)
    del settings["things"]
    for key in LATER.keys() - {"preprocessing.version"}:
        table, name = key.split(".")
        settings.get(table, {}).pop(name, None)
    killed.folder.config.write_text(tomli_w.dumps(settings))
    assert killed.config({}).things == Answers()
    assert killed.prepare({}).steps_done == 3


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        ({"things": {"colour": "no"}}, 'things.colour is "no"'),
        ({"views": {"turn": 90}}, "views.turn is 90.0"),
        ({"views": {"saturation": 0.5}}, "views.saturation is 0.5"),
    ],
    ids=["colour", "turn", "saturation"],
)
def test_a_setting_that_came_later_cannot_be_set_in_a_begun_training(
    saved: SavedRun, changes: dict[str, Any], fact: str
):
    with pytest.raises(ConfigError, match=f"{fact} .* up to the checkpoint; remove it, or start"):
        saved.prepare(changes)


def test_every_free_setting_exists():
    settings = flattened(RunConfig().model_dump(mode="json"))
    for selection in FREE_BY_SELECTION.values():
        assert selection <= settings.keys()
    assert settings.keys() >= FREE


@pytest.mark.parametrize(
    ("select", "bound"),
    [
        ("last", set()),
        ("holdout", {"holdout_share", "pooling.level_weight", "pooling.mirror"}),
        ("test", {"eval.gallery", "eval.queries", "pooling.level_weight", "pooling.mirror"}),
    ],
)
def test_what_selects_the_epoch_is_part_of_the_trajectory(select: str, bound: set[str]):
    labelled = {"gallery": "a", "queries": "b"}
    config = RunConfig.model_validate({"select": select, "eval": labelled})
    by_selection = {
        "holdout_share", "eval.gallery", "eval.queries", "pooling.level_weight", "pooling.mirror",
    }  # fmt: skip
    settings = trajectory_settings(config)
    assert by_selection & settings.keys() == bound
    assert settings["optimiser.batch_size"] == 128
    assert settings["pooling.levels"] == [0.72, 0.89]


def test_how_the_start_is_read_is_bound_where_its_vectors_are_learned():
    config = resolve({}, {"method": {"name": "distill"}}, "tests")
    bound = trajectory_settings(config, takes_targets=True).keys()
    pooling = {"level_weight", "mirror", "mean_weight", "ridge", "shrinkage", "whitening"}
    assert bound - trajectory_settings(config).keys() == {f"pooling.{key}" for key in pooling}


def test_a_checksum_is_that_of_the_content_alone(tmp_path: Path):
    for name, content in (("b/x.jpg", b"1"), ("a/x.jpg", b"1"), ("a/y.jpg", b"2")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    paths = sorted(tmp_path.rglob("*.jpg"))
    checksums = image_checksums(tmp_path, paths)
    assert list(checksums) == ["a/x.jpg", "a/y.jpg", "b/x.jpg"]
    expected = (
        "6b86b273ff34fce19d6b804eff5a3f5747ada4eaa22f1d49c01e52ddb7875b4b"  # printf 1 | sha256sum
    )
    assert (checksums["a/x.jpg"], checksums["b/x.jpg"]) == (expected, expected)
    assert checksums["a/y.jpg"] != expected


def test_start_weights_of_another_content_are_refused(saved: SavedRun, tmp_path: Path):
    weights = tmp_path / "start.safetensors"
    weights.write_bytes(b"first")
    config = saved.config({"backbone": {"weights": str(weights)}})
    checkpoint = Fingerprint(trajectory_settings(config), "")
    check_settings(saved.folder, config, checkpoint)
    weights.write_bytes(b"other")
    with pytest.raises(ConfigError, match=r"the start weights, has other content .*back"):
        check_settings(saved.folder, config, checkpoint)
    plain = {k: v for k, v in checkpoint.settings.items() if "SHA-256" not in k}
    check_settings(saved.folder, config, Fingerprint(plain, ""))  # of an earlier release


def test_new_times_and_a_moved_folder_change_nothing(saved: SavedRun, photos: Path):
    assert saved.images != photos / "train"
    for path in saved.images.rglob("*.jpg"):
        os.utime(path, (1, 1))
    ready = saved.prepare({})
    position = read_position(saved.folder)
    assert position is not None
    assert ready.fingerprint == position.fingerprint
    assert len(json.loads(saved.folder.images.read_text())) == 24


def test_another_content_is_refused_even_with_the_same_size_and_time(saved: SavedRun):
    path = sorted(saved.images.rglob("*.jpg"))[5]
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    files = contents(saved.folder.path)
    words = f"the images changed since the checkpoint in {saved.folder.path}: {path} has different "
    with pytest.raises(FgembedError, match=f"{words}content; put the images back as they were, or"):
        saved.prepare({})
    assert contents(saved.folder.path) == files


def test_the_first_changed_image_is_named(saved: SavedRun):
    paths = sorted(saved.images.rglob("*.jpg"))
    new = paths[3].with_name("0000-new.jpg")
    shutil.copy(paths[0], new)
    with pytest.raises(FgembedError, match=f"checkpoint in .*: {new} is new; put the images back"):
        saved.prepare({})
    new.unlink()
    paths[2].write_bytes(b"damaged")
    paths[4].unlink()
    with pytest.raises(FgembedError, match=f"{paths[2]} is missing or cannot be read; put"):
        saved.prepare({})


def test_too_many_bad_images_are_refused_as_in_a_new_run(saved: SavedRun):
    for path in saved.images.rglob("*.jpg"):
        path.write_bytes(b"damaged")
    with pytest.raises(BadImagesError, match="none of 24"):
        saved.prepare({})


@pytest.mark.parametrize("damage", ["missing", "another", "no JSON"])
def test_a_damaged_list_of_images_matters_only_if_they_changed(saved: SavedRun, damage: str):
    sound = saved.folder.images.read_text()
    if damage == "missing":
        saved.folder.images.unlink()
    else:
        saved.folder.images.write_text("{}" if damage == "another" else sound[:-20])
    saved.prepare({})
    assert saved.folder.images.read_text() == sound
    saved.folder.images.write_text("{}" if damage == "another" else sound[:-20])
    next(saved.images.rglob("*.jpg")).unlink()
    with pytest.raises(IntegrityError, match=r"images\.json.* damaged.*; put the images back"):
        saved.prepare({})


@pytest.mark.slow
def test_without_its_state_a_run_trains_again_from_the_start(killed: SavedRun):
    """As the remedy of a damaged checkpoint says."""
    before = killed.figures()
    shutil.rmtree(killed.folder.state)
    run_training(killed.config({"seed": 0}), LCR, killed.folder.path, silent)
    assert [step for step, _ in before] == [0, 1, 2, 3, 4]
    assert killed.figures()[:5] == before
    assert len(killed.figures()) == 6
