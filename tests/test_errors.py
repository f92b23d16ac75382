"""Every error says what is wrong and what to do; the raise sites are read from the source."""

import ast
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from fgembed import errors

ROOT = Path(__file__).parents[1]
CLASSES = {
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.FgembedError)
}
OWN_REMEDY = {"MissingExtraError", "ImageError"}  # their constructors write it


def source_files() -> list[Path]:
    """The product's files, each once: `rglob` does not follow the links in fgembed/."""
    tops = ("fgembed", "cli", "export", "index")
    return sorted(path for top in tops for path in (ROOT / top).rglob("*.py"))


def raised(tree: ast.AST) -> Iterator[ast.Call]:
    """The calls that make one of our errors, where they are raised or built to be."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in CLASSES:
            yield node


def without_remedy(path: Path) -> list[str]:
    """The places in a file where an error is made that does not say what to do."""
    return [
        f"{path}:{call.lineno}"
        for call in raised(ast.parse(path.read_text()))
        if getattr(call.func, "id", "") not in OWN_REMEDY
        and (
            len(call.args) != 2
            or (isinstance(call.args[1], ast.Constant) and not call.args[1].value)
        )
    ]


def test_every_error_states_a_remedy():
    assert [place for path in source_files() for place in without_remedy(path)] == []


def test_a_place_without_remedy_is_seen(tmp_path: Path):
    file = tmp_path / "module.py"
    file.write_text(
        "raise ConfigError('no size')\n"
        "raise ConfigError('no size', '')\n"
        "raise ConfigError('no size', 'give one')\n"
        "raise ValueError('ours alone')\n"
    )
    assert without_remedy(file) == [f"{file}:1", f"{file}:2"]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (errors.NotFoundError("no run", "train one"), "no run; train one"),
        (
            errors.MissingExtraError("a plot", "matplotlib", "train"),
            "a plot needs matplotlib; install it with \"pip install 'fgembed[train]'\"",
        ),
        (
            errors.ImageError("a.jpg", "truncated"),
            (
                "cannot read image 'a.jpg': truncated; give another image, or save it again as "
                "JPEG or PNG"
            ),
        ),
    ],
)
def test_an_error_is_one_line_and_survives_another_process(error: errors.FgembedError, line: str):
    assert str(error) == line
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.exit_code) == (type(error), line, error.exit_code)
