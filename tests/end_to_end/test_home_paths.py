"""`~` is the home folder in settings, in options that the shell left alone, and in lists."""

import io
import shutil
import sys
from pathlib import Path

import pytest

from fgembed.config import RunConfig
from fgembed.errors import ConfigError, NotFoundError
from fgembed.methods.ppssl import PPSSL
from fgembed.resolve import read_recipe, resolve
from fgembed.workspace import RunFolder, find_run, workspace_images
from tests.conftest import Command


@pytest.fixture
def home(tmp_path: Path, photos: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with photographs and a bundle."""
    folder = tmp_path / "home of kiwi"
    shutil.copytree(photos / "train", folder / "photos")
    shutil.copytree(bundle, folder / "bundle")
    monkeypatch.setenv("HOME", str(folder))
    return folder


def test_every_path_of_the_settings_may_begin_at_home(home: Path):
    written = {
        "images": "~/photos",
        "backbone": {"weights": "~/w.pt"},
        "eval": {"gallery": "~/photos", "queries": "~"},
    }
    config = resolve(written, {}, "tests")
    assert config.images == str(home / "photos")
    assert config.backbone.weights == str(home / "w.pt")
    assert (config.eval.gallery, config.eval.queries) == (str(home / "photos"), str(home))
    settings = PPSSL.Config(corpus="~/corpus.toml", teacher_weights="~/clip.pt")
    assert settings.corpus == str(home / "corpus.toml")
    assert settings.teacher_weights == str(home / "clip.pt")


def test_what_is_no_path_stays_as_it_is(home: Path):
    assert RunConfig().backbone.weights == "imagenet"
    assert RunConfig(images="photos/~").images == "photos/~"


def test_a_workspace_a_recipe_and_a_run_are_found_at_home(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    Path("fgembed.toml").write_bytes(b'\xef\xbb\xbfimages = "~/photos"\r\n')
    assert workspace_images() == home / "photos"
    (home / "mine.toml").write_text("seed = 3\n")
    assert read_recipe("~/mine.toml") == {"seed": 3}
    with pytest.raises(ConfigError, match="no recipe"):
        read_recipe("~/none.toml")
    run = RunFolder(home / "run")
    run.path.mkdir()
    run.config.touch()
    assert find_run("~/run") == home / "run"
    with pytest.raises(NotFoundError, match="no run '~/none'"):
        find_run("~/none")


def test_every_option_that_is_a_path_may_begin_at_home(command: Command, home: Path):
    built = command("index", "build", "~/photos", "--bundle=~/bundle", "--out=~/x.index")
    assert built.code == 0, built.err
    (image,) = sorted((home / "photos").rglob("*.jpg"))[:1]
    query = f"~/{image.relative_to(home)}"
    done = command("search", query, "--index", "~/x.index", "--html=~/x.html", "-k", "1")
    assert (done.code, done.err) == (0, "")
    assert (home / "x.html").is_file()
    removed = command("index", "remove", query, "--index=~/x.index", "--json").answer()
    assert removed["removed"] == 1
    assert command("init", "~/photos").code == 0
    assert workspace_images() == home / "photos"
    assert not list(Path.cwd().glob("~*"))


def test_a_list_on_standard_input_may_begin_at_home_and_with_a_mark(
    command: Command, home: Path, monkeypatch: pytest.MonkeyPatch
):
    names = sorted(str(path.relative_to(home)) for path in (home / "photos").rglob("*.jpg"))[:3]
    for encoding in ("utf-8-sig", "utf-16"):
        content = "".join(f"~/{name}\r\n" for name in names).encode(encoding)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), "ascii"))
        done = command("embed", "-", "--bundle=~/bundle", "--out", encoding, "--json")
        assert (done.answer()["embedded"], done.answer()["skipped"]) == (3, 0)


def test_a_path_at_home_that_is_not_there_is_named_in_full(command: Command, home: Path):
    done = command("index", "build", "~/none", "--bundle=~/bundle")
    assert done.code == 1
    assert f"at {home}/none; give a folder" in done.err
