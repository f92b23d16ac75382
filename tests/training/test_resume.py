"""A run resumes on the settings of its checkpoint; those beside the trajectory may change."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import tomli_w

from fgembed.disk.files import read_toml
from fgembed.errors import ConfigError
from fgembed.methods.lcr import LCR
from fgembed.progress import silent
from fgembed.questions import Answers
from fgembed.training.resuming.fingerprint import (
    FREE,
    FREE_BY_SELECTION,
    LATER,
    Fingerprint,
    check_settings,
    trajectory_settings,
)
from fgembed.training.run import run_training
from fgembed.workspace import RunFolder
from tests.conftest import TINY, Command
from tests.end_to_end.refusals import refused
from tests.training.saved_runs import SavedRun, contents, flattened


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
        "labels": str(photos / "train"),
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


@pytest.mark.slow
def test_without_its_state_a_run_trains_again_from_the_start(killed: SavedRun):
    """As the remedy of a damaged checkpoint says."""
    before = killed.figures()
    shutil.rmtree(killed.folder.state)
    run_training(killed.config({"seed": 0}), LCR, killed.folder.path, silent)
    assert [step for step, _ in before] == [0, 1, 2, 3, 4]
    assert killed.figures()[:5] == before
    assert len(killed.figures()) == 6
