"""An error that no one foresaw ends in one line, too, and shows where it was if it is asked to."""

import errno
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from fgembed.cli.process.endings import end_of

FGEMBED = "from fgembed.cli.main import run\n"


FREE = "; free space on that disk, then run the command again"


def raising(statement: str) -> str:
    """A program whose `fgembed doctor` meets an error."""
    return (
        "import fgembed.doctor\n"
        f"def examine():\n    {statement}\n"
        f"fgembed.doctor.examine = examine\n{FGEMBED}run()\n"
    )


def ended(statement: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    environment = {k: v for k, v in os.environ.items() if k != "FGEMBED_TRACEBACK"} | environment
    command = [sys.executable, "-c", raising(statement), "doctor"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


UNFORESEEN = {
    "raise ZeroDivisionError('by\\n\\x1b[31m zero')": r"ZeroDivisionError: by",
    "int('x')": "ValueError: invalid literal",
    "b'\\xff'.decode()": "UnicodeDecodeError: 'utf-8' codec",
    "import sqlite3; raise sqlite3.OperationalError('locked')": "OperationalError: locked",
    "examine()": "RecursionError: maximum recursion depth",
    "raise AssertionError": "AssertionError: no message",
    "class PanicException(BaseException): pass\n    raise PanicException('in Rust')":
        "PanicException: in Rust",
    "class Mute(Exception):\n        def __str__(self): return 1\n    raise Mute":
        "Mute: no message",
}  # fmt: skip


@pytest.mark.parametrize(("statement", "said"), UNFORESEEN.items(), ids=UNFORESEEN.values())
def test_an_unforeseen_error_is_one_line_that_says_whose_fault_it_is(statement: str, said: str):
    done = ended(statement)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {said}")
    assert done.stderr.endswith(
        "; this is a fault of fgembed: set FGEMBED_TRACEBACK=1, run "
        '"fgembed doctor" again and report what it prints\n'
    )
    assert done.stderr.count("\n") == 1
    assert "\x1b" not in done.stderr


def test_the_traceback_is_shown_where_the_environment_asks_for_it():
    done = ended("int('x')", FGEMBED_TRACEBACK="1")
    assert done.returncode == 1
    assert "in examine\nValueError: invalid literal" in done.stderr
    assert "fault of fgembed" not in done.stderr


@pytest.mark.parametrize(
    ("statement", "code", "said"),
    [
        ("raise MemoryError", 1, "error: not enough memory; use smaller batches or images\n"),
        ("raise KeyboardInterrupt", 130, ""),
        ("raise SystemExit(7)", 7, ""),
        ("open('/nowhere/größe')", 1, "error: No such file or directory: /nowhere/größe\n"),
        ("open(b'/nowhere/gr\\xf6')", 1, "error: No such file or directory: /nowhere/gr\\udcf6\n"),
        (
            "raise OSError(28, 'No space left on device')",
            1,
            f"error: No space left on device{FREE}\n",
        ),
        ("raise OSError('odd')", 1, "error: odd\n"),
    ],
)
def test_errors_of_the_machine_are_told_without_blame(statement: str, code: int, said: str):
    done = ended(statement)
    assert (done.returncode, done.stderr) == (code, said)


def test_memory_that_torch_lacks_is_told_as_such():
    error = RuntimeError(
        "[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory"
    )
    assert end_of(error) == ("not enough memory; use smaller batches or images", 1)


def test_an_error_of_another_file_is_no_error_of_the_output(tmp_path: Path):
    assert end_of(OSError(errno.ENOSPC, "No space left on device", str(tmp_path))) == (
        f"No space left on device: {tmp_path}{FREE}",
        1,
    )


def test_an_unforeseen_error_is_raised_in_tests(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FGEMBED_TRACEBACK", "1")
    with pytest.raises(sqlite3.OperationalError):
        end_of(sqlite3.OperationalError("locked"))


def test_a_long_unforeseen_message_is_cut():
    done = ended("raise ValueError('x' * 100_000)")
    assert done.stderr.startswith("error: ValueError: xxx")
    assert len(done.stderr) < 1000


def test_a_file_that_was_opened_by_its_descriptor_is_named_by_it():
    done = ended("raise OSError(9, 'Bad file descriptor', 77)")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "error: Bad file descriptor: file descriptor 77\n"


def test_two_spaces_in_a_name_stay_two(tmp_path: Path):
    done = ended(f"open({str(tmp_path / 'a  b.jpg')!r})")
    assert done.stderr == f"error: No such file or directory: {tmp_path}/a  b.jpg\n"


@pytest.mark.parametrize("name", ["", ", 'x.npy'"])
def test_a_full_disk_says_what_to_do(name: str):
    done = ended(f"raise OSError(28, 'No space left on device'{name})")
    assert done.returncode == 1
    assert done.stderr.startswith("error: No space left on device")
    assert done.stderr.endswith("; free space on that disk, then run the command again\n")


def test_an_interrupt_that_a_library_hides_is_an_interrupt():
    hidden = "\n    ".join(
        ("try:", "    raise KeyboardInterrupt", "except KeyboardInterrupt as interrupt:",
         "    raise ImportError('initialization failed') from interrupt")
    )  # fmt: skip
    done = ended(hidden)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")
