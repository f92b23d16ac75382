"""The README's commands, run as they are written; only the backbone needs no download."""

import re
from pathlib import Path

import pytest

from tests.conftest import SIZE, TINY, Command

README = (Path(__file__).parents[2] / "README.md").read_text()


def block(language: str, first: str) -> list[str]:
    """The code block that starts with `first`, comments removed."""
    for code in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL):
        if code.startswith(first):
            return [line.partition("#")[0].rstrip() for line in code.splitlines()]
    raise AssertionError(f"the README has no {language} block that starts with {first!r}")


@pytest.mark.slow
def test_the_five_commands_and_five_lines_work_as_written(
    command: Command, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "photos").symlink_to(photos / "train")
    query = sorted((photos / "test").rglob("*.jpg"))[0]
    (tmp_path / "query.jpg").write_bytes(query.read_bytes())
    init, *others = block("sh", "fgembed init")
    assert command(*init.split()[1:]).code == 0
    settings = (tmp_path / "fgembed.toml").read_text()
    settings = settings.replace("[backbone]", f'[backbone]\nname = "{TINY}"\nweights = "random"')
    settings = settings.replace("[preprocessing]", f"[preprocessing]\nsize = {SIZE}")
    small = "\n[optimiser]\nepochs = 1\nbatch_size = 8\n"
    (tmp_path / "fgembed.toml").write_text("workers = 0\n" + settings + small)
    outputs = []
    for line in others:
        done = command(*line.split()[1:])
        assert (done.code, line, done.err.count("error")) == (0, line, 0)
        outputs.append(done.out)
    trained, exported, built, found = outputs
    assert trained.startswith("runs/distill-1: distill on 24 images\n")
    assert "same nearest neighbour 100.0%" in exported
    assert built.startswith("gallery.index: 24 images, 23 dimensions, flat, exact search")
    paths = [line.split()[2] for line in found.splitlines()[1:]]
    assert len(paths) == 10
    exec("\n".join(block("python", "from fgembed.index")), {})
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [path.endswith(short) for (_, path), short in zip(printed, paths, strict=False)] == [
        True
    ] * 5


def test_every_command_of_the_table_exists():
    from fgembed.cli.main import COMMANDS

    named = set(re.findall(r"^\| `fgembed (\w+)", README, re.MULTILINE))
    assert named == set(COMMANDS)
