"""The wheel in an empty environment: base dependencies only, so no torch; then used."""

import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

from tests.packaging.conftest import build

pytestmark = pytest.mark.slow


def requirements(name: str, extra: str = "") -> set[str]:
    """The names that a distribution, or one of its extras, requires on this machine."""
    from packaging.requirements import Requirement

    names = set()
    for text in metadata.requires(name) or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            names.add(requirement.name)
    return names


def closure(names: set[str]) -> set[str]:
    """The distributions and all that they require, as far as they are installed."""
    complete: set[str] = set()
    pending = set(names)
    while pending:
        name = re.sub(r"[-_.]+", "-", pending.pop()).lower()
        if name not in complete:
            complete.add(name)
            pending |= requirements(name)
    return complete


def link_into(site: Path, names: set[str]) -> None:
    """Makes installed distributions importable there, each top-level entry by a link."""
    for name in names:
        distribution = metadata.distribution(name)
        for file in distribution.files or []:
            top = file.parts[0]
            entry = Path(str(distribution.locate_file(top)))
            if top != ".." and top != "__pycache__" and not (site / top).exists():
                (site / top).symlink_to(entry)


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new environment that holds the wheel and its base dependencies."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "-q", "--python", str(python), "install"]
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    link_into(site, closure(requirements("fgembed")))
    return folder


def call(environment: Path, folder: Path, *line: object) -> subprocess.CompletedProcess[str]:
    """One command of the installed program, from an empty folder and with an empty home."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    variables = {"PATH": os.environ["PATH"], "HOME": str(home)}
    program = environment / "bin" / "fgembed"
    return subprocess.run(
        [str(program), *map(str, line)], cwd=folder, env=variables, capture_output=True, text=True
    )


def test_the_environment_holds_no_torch(environment: Path):
    code = "import importlib.util as u; print(u.find_spec('torch'), u.find_spec('pyarrow'))"
    python = str(environment / "bin" / "python")
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "None None\n"


def test_the_installed_program_indexes_and_searches(
    environment: Path, bundle: Path, photos: Path, tmp_path: Path
):
    assert "index" in call(environment, tmp_path, "--help").stdout
    built = call(
        environment, tmp_path, "index", "build", photos / "train", "--bundle", bundle, "--json"
    )
    assert built.returncode == 0, built.stderr
    assert json.loads(built.stdout)["count"] == 24
    query = sorted((photos / "train").rglob("*.jpg"))[5]
    found = call(environment, tmp_path, "search", query, "--json", "--html", "hits.html")
    assert found.returncode == 0, found.stderr
    first = json.loads(found.stdout)[0]
    assert (first["path"], round(first["score"], 4)) == (str(query), 1)
    assert (tmp_path / "hits.html").is_file()


def test_what_needs_an_extra_says_so(environment: Path, bundle: Path, photos: Path, tmp_path: Path):
    training = call(environment, tmp_path, "train", "--images", photos / "train")
    line = "error: this command needs torch; install it with \"pip install 'fgembed[train]'\"\n"
    assert (training.returncode, training.stderr) == (1, line)
    embedding = call(environment, tmp_path, "embed", photos / "train", "--bundle", bundle)
    assert embedding.returncode == 1
    assert "pip install 'fgembed[scale]'" in embedding.stderr
    assert embedding.stderr.count("\n") == 1


def test_with_the_extra_scale_it_embeds(
    environment: Path, bundle: Path, photos: Path, tmp_path: Path
):
    (site,) = environment.glob("lib/python*/site-packages")
    link_into(site, closure(requirements("fgembed", "scale")))
    done = call(environment, tmp_path, "embed", photos / "train", "--bundle", bundle, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["embedded"] == 24


def test_the_source_distribution_builds_the_same_wheel(source: Path, wheel: Path, tmp_path: Path):
    archive = build(source, "build_sdist", tmp_path / "sdist")
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "-w", str(tmp_path), str(archive)], check=True)
    (again,) = tmp_path.glob("*.whl")
    assert content(again) == content(wheel)


def content(wheel: Path) -> dict[str, bytes]:
    """Every file of a wheel but its own list."""
    with zipfile.ZipFile(wheel) as archive:
        return {n: archive.read(n) for n in archive.namelist() if not n.endswith("RECORD")}
