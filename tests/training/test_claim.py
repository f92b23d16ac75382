"""Run folders: a free name is taken in the step that finds it, and left if no run begins."""

from pathlib import Path

import pytest

from fgembed.disk.files import write_json, write_text
from fgembed.errors import FgembedError, InUseError
from fgembed.training.claim import claimed, is_free, new_run
from tests.children import ended, kill, python, wait_until

TAKE = """
import sys
from pathlib import Path
from fgembed.training.claim import new_run
with new_run("moco") as run:
    (run / "config.toml").write_text("")
    print(run.name, flush=True)
    sys.stdin.read()
"""
RESERVE = """
import sys
from fgembed.training.claim import new_run
with new_run("moco", "mine"):
    print("reserved", flush=True)
    sys.stdin.read()
"""

GIVE_UP = """
from contextlib import suppress
from fgembed.training.claim import new_run
for _ in range(150):
    with suppress(ValueError), new_run("moco") as run:
        raise ValueError("a wrong setting")
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


def test_runs_that_begin_at_once_get_a_folder_each(tmp_path: Path) -> None:
    processes = [python(TAKE, folder=tmp_path) for _ in range(6)]
    taken = {ended(process).out.strip() for process in processes}
    assert taken == {f"moco-{number}" for number in range(1, 7)}
    assert {path.name for path in (tmp_path / "runs").iterdir()} == taken


def test_a_run_that_does_not_begin_leaves_nothing(tmp_path: Path) -> None:
    for name in (None, "mine"):
        with pytest.raises(ValueError, match="wrong"), new_run("moco", name, tmp_path) as run:
            assert run.is_dir()
            write_text(run / "skipped.jsonl", "")
            raise ValueError("a wrong setting")
    assert names(tmp_path) == []


def test_a_name_may_be_given_up_while_another_process_takes_it(tmp_path: Path) -> None:
    processes = [python(GIVE_UP, folder=tmp_path) for _ in range(3)]
    done = [ended(process) for process in processes]
    assert [(outcome.code, outcome.err) for outcome in done] == [(0, "")] * 3
    assert names(tmp_path) in ([], ["runs"])


def test_a_run_that_has_begun_stays(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="later"), new_run("moco", None, tmp_path) as run:
        (run / "config.toml").write_text("")
        raise ValueError("later")
    assert names(tmp_path) == ["config.toml", "moco-1", "runs"]
    with new_run("moco", None, tmp_path) as run:
        assert run.name == "moco-2"


def test_the_folder_of_another_run_beside_it_stays(tmp_path: Path) -> None:
    (tmp_path / "runs" / "lcr-1").mkdir(parents=True)
    with new_run("moco", None, tmp_path):
        pass
    assert names(tmp_path) == ["lcr-1", "runs"]


def test_a_name_that_is_being_taken_is_refused_and_free_after_a_kill(tmp_path: Path) -> None:
    process = python(RESERVE, folder=tmp_path)
    run = tmp_path / "runs" / "mine"
    wait_until(run.is_dir, process)
    assert process.stdout is not None and process.stdout.readline() == "reserved\n"
    with pytest.raises(InUseError, match=r"another process is writing .*runs/mine"):
        with new_run("moco", "mine", tmp_path):
            pytest.fail("two runs")
    kill(process)
    assert names(run) == [".lock"]
    with new_run("moco", "mine", tmp_path) as taken:
        assert taken == run


def test_what_a_kill_in_the_preparation_left_is_no_run_and_is_taken_over(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "moco-1"
    write_text(run / "skipped.jsonl", "")
    write_json(run / "images.json", {})
    (run / ".config.toml.tmp-01234567-1-89abcdef").write_text("half")
    assert is_free(run)
    with new_run("moco", None, tmp_path) as taken:
        assert taken == run


@pytest.mark.parametrize("name", ["config.toml", "1.jpg", "state", ".hidden"])
def test_a_folder_that_holds_anything_else_is_taken(tmp_path: Path, name: str) -> None:
    run = tmp_path / "runs" / "moco-1"
    run.mkdir(parents=True)
    (run / name).write_text("mine")
    with pytest.raises(FgembedError, match="exists; resume it with --resume, or give another"):
        with new_run("moco", "moco-1", tmp_path):
            pytest.fail("written over")
    with new_run("moco", None, tmp_path) as taken:
        assert taken.name == "moco-2"
    assert (run / name).read_text() == "mine"


@pytest.mark.parametrize("make", [Path.mkdir, Path.touch, lambda run: run.symlink_to("away")])
def test_an_empty_folder_a_file_and_a_link_to_nothing_are_taken(tmp_path: Path, make) -> None:
    (tmp_path / "runs").mkdir()
    make(tmp_path / "runs" / "moco-1")
    with new_run("moco", None, tmp_path) as taken:
        assert taken.name == "moco-2"


def test_a_folder_that_is_no_run_is_not_trained_into(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_bytes(b"mine")
    with pytest.raises(FgembedError, match="exists and is no run; give another folder"):
        with claimed(tmp_path):
            pytest.fail("trained over")
    assert names(tmp_path) == ["1.jpg"]


@pytest.mark.parametrize("is_new", [False, True])
def test_an_empty_folder_is_the_users_unless_its_name_was_free(
    tmp_path: Path, is_new: bool
) -> None:
    run = tmp_path / "runs" / "moco-1"
    run.mkdir(parents=True)
    with claimed(run, is_new):
        assert names(run) == [".lock"]
    assert run.is_dir() != is_new
