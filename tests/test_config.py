"""Settings: precedence, refusal, and the way back from a file."""

from pathlib import Path

import pytest

from fgembed.config import RunConfig, validate, write_config
from fgembed.disk.files import read_toml
from fgembed.errors import ConfigError, FgembedError, NotFoundError
from fgembed.methods.table import method_named
from fgembed.resolve import parse_assignment, recipe_names, resolve
from fgembed.template import write_template
from fgembed.workspace import workspace_images


def test_overrides_beat_the_file_and_the_file_beats_the_recipe(tmp_path: Path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("seed = 1\nworkers = 7\n[optimiser]\nepochs = 3\nmomentum = 0.5\n")
    file = {"recipe": str(recipe), "seed": 2, "optimiser": {"epochs": 4}}
    config = resolve(file, {"optimiser": {"batch_size": 6}, "seed": 3}, "fgembed.toml")
    assert (config.seed, config.workers) == (3, 7)
    learning = config.optimiser
    assert (learning.epochs, learning.momentum, learning.batch_size) == (4, 0.5, 6)


def test_a_method_brings_the_recipe_of_its_name():
    assert resolve({}, {"method": {"name": "moco"}}, "x").recipe == "moco"
    assert resolve({}, {"method": {"name": "neighbours"}}, "x").recipe == "neighbours"
    assert resolve({}, {"method": {"name": "distill"}}, "x").recipe == "default"


def test_without_a_choice_the_default_recipe_is_taken():
    config = resolve({}, {}, "x")
    assert (config.recipe, config.method.name) == ("default", "distill")
    assert config.optimiser.name == "adamw"
    assert config.backbone.freeze_statistics


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_is_valid_down_to_the_method_s_settings(name: str):
    config = resolve({"recipe": name}, {}, name)
    settings = config.method.model_extra or {}
    validate(method_named(config.method.name).Config, settings, name)
    queue = settings.get("queue_size", 4096)
    assert queue % config.optimiser.batch_size == 0


def test_the_resolved_settings_come_back_from_their_file(tmp_path: Path):
    config = resolve({"images": 'a "b"\n\\c'}, {"method": {"weight": 2.0}}, "x")
    write_config(tmp_path / "config.toml", config)
    assert validate(RunConfig, read_toml(tmp_path / "config.toml"), "x") == config


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"imges": 1}, "unknown key 'imges'; did you mean 'images'?"),
        ({"preprocessing": {"sizes": 3}}, "'preprocessing.sizes'; did you mean 'size'"),
        ({"preprocessing": {"size": 3}}, "size 3 is not in 16..4096; correct the value, or leave"),
        (
            {"optimiser": {"epochs": -1}},
            "optimiser.epochs: input should be .*, got -1; correct the value",
        ),
        (
            {"eval": {"gallery": "x"}},
            "eval needs both `gallery` and `queries`, or neither; set both",
        ),
        ({"recipe": "lrc"}, "no recipe 'lrc'; did you mean 'lcr'"),
        ({"views": 3}, "views.*got 3"),
    ],
)
def test_wrong_settings_are_refused_with_what_was_expected(
    settings: dict[str, object], message: str
):
    with pytest.raises(ConfigError, match=message):
        resolve(settings, {}, "fgembed.toml")


@pytest.mark.parametrize("name", ["photos", 'a "b"\n\\c', "tab\t", "ü 海\x7f", "it's"])
def test_a_new_workspace_names_its_folder_of_photographs(tmp_path: Path, name: str):
    write_template(tmp_path, Path(name))
    assert workspace_images(tmp_path) == tmp_path / name
    with pytest.raises(FgembedError, match=r"fgembed\.toml exists; edit it, or remove it"):
        write_template(tmp_path, Path(name))


def test_a_workspace_without_a_folder_of_photographs_says_how_to_name_one(tmp_path: Path):
    (tmp_path / "fgembed.toml").write_text("seed = 1")
    with pytest.raises(
        NotFoundError, match=r"fgembed\.toml names none; give a folder, or set images = \"PHOTOS\""
    ):
        workspace_images(tmp_path)


def test_assignments_are_toml_values_or_plain_text():
    assert parse_assignment("a.b=3") == {"a": {"b": 3}}
    assert parse_assignment("a=[1, 2]") == {"a": [1, 2]}
    assert parse_assignment("backbone.name=torchvision/x=y") == {
        "backbone": {"name": "torchvision/x=y"}
    }
    with pytest.raises(ConfigError, match=r"not of the form table\.key=value; write it like"):
        parse_assignment("epochs")


@pytest.mark.parametrize(
    "wrong",
    [
        "levels=[nan]",
        "levels=[inf]",
        "levels=[-0.1]",
        "levels=[1.0]",
        "level_weight=inf",
        "shrinkage=inf",
    ],
)
def test_readings_out_of_range_are_refused(wrong: str):
    with pytest.raises(ConfigError, match=rf"pooling\.{wrong.partition('=')[0]}"):
        resolve({"images": "photos"}, parse_assignment(f"pooling.{wrong}"), "--set")
