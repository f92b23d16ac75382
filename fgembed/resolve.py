"""Recipe, file and flags become one configuration.

A value is looked up in this order: `--set` and flags, `fgembed.toml` (or `--config`), the
recipe, the class.
"""

import tomllib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from fgembed.config import RunConfig, validate
from fgembed.disk.files import read_toml
from fgembed.errors import ConfigError
from fgembed.text import nearest

DEFAULT_RECIPE = "default"


def recipe_names() -> list[str]:
    """The recipes that come with fgembed."""
    return sorted(Path(p.name).stem for p in _recipes().iterdir() if p.name.endswith(".toml"))


def read_recipe(name: str) -> dict[str, Any]:
    """A recipe by name, or a TOML file of your own.

    Raises:
        ConfigError: there is no such recipe.
    """
    if name.endswith(".toml") and Path(name).is_file():
        return read_toml(Path(name))
    if name not in recipe_names():
        raise ConfigError(f"no recipe {name!r}", nearest(name, recipe_names()))
    return tomllib.loads(_recipes().joinpath(f"{name}.toml").read_text(encoding="utf-8"))


def resolve(file: Mapping[str, Any], overrides: Mapping[str, Any], where: str) -> RunConfig:
    """Recipe, file and overrides merged into one configuration.

    Without a recipe, a method brings the recipe of its own name; the method of `DEFAULT_RECIPE`
    and no method at all bring that one.

    Raises:
        ConfigError: a key is unknown or a value out of range; `where` names the file.
    """
    given = merge(file, overrides)
    recipe = given.get("recipe")
    if recipe is None:
        method = given.get("method", {})
        name = method.get("name") if isinstance(method, Mapping) else None
        recipe = _recipe_of(name)
    base = read_recipe(recipe) if isinstance(recipe, str) else {}
    return validate(RunConfig, merge(base, given) | {"recipe": recipe}, where)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the values of `over` in their place, table by table."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged


def parse_assignment(text: str) -> dict[str, Any]:
    """`a.b=value` as nested tables; the value is TOML, or else plain text.

    Raises:
        ConfigError: there is no `=` or an empty name.
    """
    key, sign, value = text.partition("=")
    names = key.strip().split(".")
    if not sign or not all(names):
        raise ConfigError(f"--set {text!r} is not of the form table.key=value")
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
