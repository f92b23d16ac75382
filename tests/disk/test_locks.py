"""One writer: the kernel's locks, held by real processes that are killed."""

import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fgembed.disk.files import staged_folder
from fgembed.disk.locks import lock_beside, sole_writer
from fgembed.errors import FgembedError, InUseError
from tests.children import NO_LOCKS, ended, kill, python

HOLD = """
import sys
from pathlib import Path
from fgembed.disk.locks import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
HOLD_AND_FORK = """
import os, sys, time
from pathlib import Path
from fgembed.disk.locks import sole_writer
with sole_writer(Path(sys.argv[1])):
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    print(child, flush=True)
    sys.stdin.read()
"""
STAGE = """
import sys
from pathlib import Path
from fgembed.disk.files import staged_folder
with staged_folder(Path(sys.argv[1])) as staged:
    (staged / "whose").write_text("first")
    print("staged", flush=True)
    sys.stdin.read()
"""
REFUSAL = "another process is writing .*; wait for it to end, then try again"


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_second_process_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    process = python(HOLD, tmp_path)
    assert first_line(process) == "held"
    with pytest.raises(InUseError, match=REFUSAL), sole_writer(tmp_path):
        pytest.fail("two writers")
    assert ended(process).code == 0
    with sole_writer(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_killed_process_holds_nothing_and_its_file_is_in_nobody_s_way(tmp_path: Path) -> None:
    process = python(HOLD, tmp_path)
    first_line(process)
    kill(process)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    with sole_writer(tmp_path):
        pass


def test_a_forked_child_that_outlives_its_killed_parent_holds_nothing(tmp_path: Path) -> None:
    process = python(HOLD_AND_FORK, tmp_path)
    child = int(first_line(process))
    kill(process)
    try:
        with sole_writer(tmp_path):
            os.kill(child, 0)  # it is still there
    finally:
        os.kill(child, 9)


def test_a_process_in_another_container_is_a_writer_like_any_other(tmp_path: Path) -> None:
    apart = ["unshare", "--pid", "--fork", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"]).returncode:
        pytest.skip("no process namespaces here")
    process = subprocess.Popen(
        [*apart, "--kill-child", sys.executable, "-c", HOLD, str(tmp_path)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    first_line(process)
    with pytest.raises(InUseError), sole_writer(tmp_path):
        pytest.fail("two writers")
    process.kill()
    process.communicate()
    with sole_writer(tmp_path, wait_s=5):  # the kernel ends the container's processes after it
        pass


def test_the_same_code_may_ask_again_and_another_thread_may_not(tmp_path: Path) -> None:
    errors: list[Exception] = []

    def ask() -> None:
        try:
            with sole_writer(tmp_path):
                pass
        except FgembedError as error:
            errors.append(error)

    with sole_writer(tmp_path):
        with sole_writer(tmp_path):
            pass
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join()
    assert [type(error) for error in errors] == [InUseError]


@pytest.mark.parametrize("name", ["ENOLCK", "ENOSYS", "ENOTSUP", "EOPNOTSUPP"])
def test_a_disk_without_locks_is_refused_before_the_work_begins(tmp_path: Path, name: str) -> None:
    """And not served with a file that a kill would leave behind for the user to remove."""
    code = NO_LOCKS.format(name=name) + HOLD
    done = ended(python(code, tmp_path))
    assert "held" not in done.out
    line = done.err.strip().splitlines()[-1]
    assert f"the disk of {tmp_path} has no file locks (" in line
    assert line.endswith("write to a folder on another disk, then copy it there")
    with sole_writer(tmp_path):
        pass


def test_a_lock_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with pytest.raises(OSError, match="Is a directory") as error, sole_writer(tmp_path):
        pytest.fail("no lock")
    assert error.value.filename == str(tmp_path / ".lock")


def test_a_folder_is_replaced_by_one_process_at_a_time(tmp_path: Path) -> None:
    target = tmp_path / "bundle"
    process = python(STAGE, target)
    assert first_line(process) == "staged"
    with pytest.raises(InUseError, match=REFUSAL), staged_folder(target):
        pytest.fail("two writers")
    assert ended(process).code == 0
    assert (target / "whose").read_text() == "first"
    with staged_folder(target) as staged:
        (staged / "whose").write_text("second")
    assert (target / "whose").read_text() == "second"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_the_lock_of_a_replaced_folder_lies_beside_it_and_outlives_the_swap(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    with staged_folder(tmp_path / "bundle"):
        assert lock_beside(tmp_path / "bundle").is_file()
        assert not (tmp_path / "bundle" / ".lock").exists()


def test_of_many_that_ask_at_once_exactly_one_writes_at_any_time(tmp_path: Path) -> None:
    """The lock file is removed and made again all the time; a counter without a lock adds up."""
    (tmp_path / "count").write_text("0")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_count_up, args=(tmp_path, 40)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (tmp_path / "count").read_text() == "160"


def _count_up(folder: Path, times: int) -> None:
    for _ in range(times):
        with sole_writer(folder, wait_s=60):
            count = int((folder / "count").read_text())
            (folder / "count").write_text(str(count + 1))


def test_a_folder_that_is_moved_away_leaves_the_lock_of_the_next_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with sole_writer(folder):
        folder.rename(tmp_path / "gone")
        process = python(HOLD, folder)
        assert first_line(process) == "held"
    with pytest.raises(InUseError), sole_writer(folder):
        pytest.fail("two writers")
    kill(process)
