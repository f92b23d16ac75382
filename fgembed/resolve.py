"""Merges recipe, file and flags into one configuration.

The first of these that sets a value decides: `--set` and flags, `fgembed.toml` (or `--config`),
the recipe, the default in the class. In each of them, what the answers of `[things]` imply comes
right after what is set in so many words.
"""

import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from fgembed.config import RunConfig, ViewSettings, validate
from fgembed.disk.files import read_toml
from fgembed.disk.text_files import at_home
from fgembed.errors import ConfigError
from fgembed.questions import Answer, Answers
from fgembed.text import nearest

DEFAULT_RECIPE = "default"


def recipe_names() -> list[str]:
    """The names of the recipes that come with fgembed."""
    return sorted(Path(p.name).stem for p in _recipes().iterdir() if p.name.endswith(".toml"))


def read_recipe(name: str) -> dict[str, Any]:
    """The settings of a recipe, given by its name or as a TOML file.

    Raises:
        ConfigError: there is no such recipe.
    """
    if name.endswith(".toml") and (file := Path(at_home(name))).is_file():
        return read_toml(file)
    if name not in recipe_names():
        raise ConfigError(f"no recipe {name!r}", nearest(name, recipe_names()))
    return tomllib.loads(_recipes().joinpath(f"{name}.toml").read_text(encoding="utf-8"))


def resolve(file: Mapping[str, Any], overrides: Mapping[str, Any], where: str) -> RunConfig:
    """The configuration from recipe, file and overrides.

    If no recipe is set, the recipe named like the method applies. For the method of
    `DEFAULT_RECIPE`, and without a method, that is `DEFAULT_RECIPE`.

    Args:
        file: the settings of the workspace's file.
        overrides: settings that replace those of the file.
        where: the name of the file, for the message.

    Raises:
        ConfigError: a key is unknown or a value is out of range.
    """
    settings = merge(file, overrides)
    recipe = settings.get("recipe")
    if recipe is None:
        method = settings.get("method", {})
        name = method.get("name") if isinstance(method, Mapping) else None
        recipe = _recipe_of(name)
    defaults = read_recipe(recipe) if isinstance(recipe, str) else {}
    config = validate(RunConfig, merge(defaults, settings) | {"recipe": recipe}, where)
    answered = _with_answers([defaults, file, overrides], config.views)
    return validate(RunConfig, answered | {"recipe": recipe}, where)


def implied_by(answers: Answers, views: ViewSettings) -> dict[str, Any]:
    """The tables of settings that the answers imply; empty if none does.

    Args:
        answers: to the questions of `fgembed.questions`.
        views: before the answers; what varies more than an answer asks for stays.

    Example:
        >>> implied_by(Answers(mirror=Answer.no), ViewSettings())
        {'views': {'flip_probability': 0.0}, 'pooling': {'mirror': False}}
    """
    changed: dict[str, Any] = {}
    if answers.colour == Answer.no:
        changed |= {"hue": 0.5, "jitter": max(0.4, views.jitter)}
        changed |= {"jitter_probability": max(0.8, views.jitter_probability)}
        changed |= {"grey_probability": max(0.3, views.grey_probability)}
    if answers.colour == Answer.yes:
        changed |= {"hue": 0.0, "saturation": 0.25}
        changed |= {"grey_probability": 0.0, "solarise_probability": 0.0}
    if answers.turns == Answer.yes:
        changed["turn"] = 180.0
    if answers.mirror == Answer.no:
        changed["flip_probability"] = 0.0
    if answers.size == Answer.yes:
        changed["crop_scale"] = max(0.8, views.crop_scale)
    tables: dict[str, Any] = {"views": changed} if changed else {}
    return tables | ({"pooling": {"mirror": False}} if answers.mirror == Answer.no else {})


def _with_answers(layers: Sequence[Mapping[str, Any]], views: ViewSettings) -> dict[str, Any]:
    """The layers merged, lowest first, what each one's answers imply right below it.

    Args:
        layers: of valid settings; only the highest one that answers a question counts.
        views: of the layers merged without it.
    """
    merged: dict[str, Any] = {}
    for number, layer in enumerate(layers):
        above = {key for higher in layers[number + 1 :] for key in higher.get("things", {})}
        answers = {k: v for k, v in layer.get("things", {}).items() if k not in above}
        implied = implied_by(Answers(**answers), views)
        merged = merge(merge(merged, implied), layer)
    return merged


def merge(defaults: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The nested tables of `defaults`, with the values of `overrides` replacing theirs.

    Example:
        >>> merge({"seed": 0, "views": {"hue": 0.1, "side": 1}}, {"views": {"hue": 0.2}})
        {'seed': 0, 'views': {'hue': 0.2, 'side': 1}}
    """
    merged = dict(defaults)
    for key, value in overrides.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def parse_assignment(text: str) -> dict[str, Any]:
    """The nested tables of `a.b=value`; the value is TOML, or else plain text.

    Raises:
        ConfigError: there is no `=`, or a name is empty.

    Example:
        >>> parse_assignment("optimiser.epochs=3")
        {'optimiser': {'epochs': 3}}
    """
    key, sign, value = text.partition("=")
    names = key.strip().split(".")
    if not sign or not all(names):
        raise ConfigError(
            f"--set {text!r} is not of the form table.key=value",
            "write it like --set optimiser.epochs=20",
        )
    try:
        parsed: Any = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value
    for name in reversed(names):
        parsed = {name: parsed}
    return dict(parsed)


def _recipe_of(method: Any) -> str | None:
    if method in (None, read_recipe(DEFAULT_RECIPE)["method"]["name"]):
        return DEFAULT_RECIPE
    return method if method in recipe_names() else None


def _recipes() -> Any:
    return files("fgembed.recipes")
