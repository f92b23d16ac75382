"""`latest` is a link, or a file that names the run where a disk has no links."""

from pathlib import Path

import pytest

from fgembed.disk.latest import check_latest, set_latest
from fgembed.errors import ConfigError, FgembedError, NotFoundError
from fgembed.workspace import find_run, workspace_images
from tests.children import NO_LINKS, ended, python

SET = """
import sys
from pathlib import Path
from fgembed.disk.latest import set_latest
for _ in range(int(sys.argv[2])):
    set_latest(Path("runs") / sys.argv[1])
"""


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in ("moco-1", "größe 2"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.toml").write_text("")
    return tmp_path / "runs"


def without_links(runs: Path, name: str) -> None:
    done = ended(python(NO_LINKS + SET, name, 1, folder=runs.parent))
    assert done.code == 0, done.err


@pytest.mark.parametrize("name", ["moco-1", "größe 2"])
def test_both_forms_of_latest_are_read_by_every_way_to_name_it(runs: Path, name: str) -> None:
    for is_link in (True, False, True):
        set_latest(runs / name) if is_link else without_links(runs, name)
        latest = runs / "latest"
        assert (latest.is_symlink(), latest.is_file()) == (is_link, not is_link)
        for given in (None, "latest", "runs/latest"):
            assert find_run(given, runs.parent).samefile(runs / name)
        assert find_run("latest", runs).samefile(runs / name)
    assert sorted(path.name for path in runs.iterdir()) == ["größe 2", "latest", "moco-1"]


@pytest.mark.parametrize("content", ["", "\n", "..", "a/b", "/etc", "a\0b", "."])
def test_a_latest_that_names_no_run_is_refused(runs: Path, content: str) -> None:
    (runs / "latest").write_text(content)
    with pytest.raises(NotFoundError, match="does not name a run; give the run, as runs/NAME"):
        find_run(None, runs.parent)


def test_a_latest_whose_run_is_gone_names_it(runs: Path) -> None:
    (runs / "latest").write_text("gone\n")
    with pytest.raises(NotFoundError, match=r"no run at .*runs/gone"):
        find_run(None, runs.parent)


def test_a_latest_that_is_a_folder_is_read_and_not_replaced(runs: Path) -> None:
    """As a copy that follows links has it."""
    (runs / "moco-1").rename(runs / "latest")
    assert find_run(None, runs.parent) == runs / "latest"
    with pytest.raises(FgembedError, match="latest is a folder, expected a link"):
        check_latest(runs / "latest")


def test_processes_that_end_at_once_leave_one_of_theirs(runs: Path) -> None:
    pairs = [("moco-1", ""), ("größe 2", ""), ("moco-1", NO_LINKS), ("größe 2", NO_LINKS)]
    processes = [python(on + SET, name, 50, folder=runs.parent) for name, on in pairs]
    for process in processes:
        done = ended(process)
        assert done.code == 0, done.err
    assert find_run(None, runs.parent).name in ("moco-1", "größe 2")
    assert len(list(runs.iterdir())) == 3


@pytest.mark.parametrize("images", ["3", '["photos"]'])
def test_images_that_are_no_text_are_said_to_be_so(images: str, tmp_path: Path) -> None:
    (tmp_path / "fgembed.toml").write_text(f"images = {images}\n")
    with pytest.raises(ConfigError, match="expected one path in quotes"):
        workspace_images(tmp_path)
