"""`fgembed init` in a terminal: what it asks, what an answer is, and when it asks nothing."""

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from fgembed.disk.files import read_toml
from fgembed.questions import QUESTIONS
from fgembed.resolve import resolve
from tests.conftest import Command
from tests.end_to_end.refusals import refused

RUN = """
import fcntl, os, termios
if os.isatty(0): fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C reaches it
from fgembed.cli.main import run
run()
"""
PROMPT = "Enter if you do not know: "


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 30), (200, 40, 40)).save(tmp_path / "photos" / "a.jpg")
    return tmp_path


class Terminal:
    """A command in a pseudo-terminal of its own."""

    def __init__(self, folder: Path, *arguments: str, away: str = "") -> None:
        """Starts it; the stream of the name `away` is not the terminal's."""
        self.screen, other_side = pty.openpty()
        stdin, stdout, stderr = (
            subprocess.DEVNULL if name == away else other_side
            for name in ("stdin", "stdout", "stderr")
        )
        self.process: subprocess.Popen[bytes] = subprocess.Popen(
            [sys.executable, "-c", RUN, *arguments],
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            start_new_session=True,
        )
        os.close(other_side)
        self.shown, self.asked = "", 0

    def read_until(self, is_done: Callable[[str], bool]) -> str:
        """What it shows until then, or until it ends."""
        deadline = time.monotonic() + 120
        while not is_done(self.shown):
            assert time.monotonic() < deadline, self.shown
            if select.select([self.screen], [], [], 1)[0]:
                try:
                    received = os.read(self.screen, 65536)
                except OSError:  # Linux: the other side is closed
                    break
                if not received:
                    break
                self.shown += received.decode()
        return self.shown

    def answer(self, *typed: str) -> None:
        """Types each answer at its own prompt."""
        for keys in typed:
            self.asked += 1
            self.read_until(lambda shown: shown.count(PROMPT) == self.asked)
            os.write(self.screen, keys.encode())

    def ended(self) -> int:
        """Its exit code."""
        self.read_until(lambda shown: False)
        os.close(self.screen)
        return self.process.wait(timeout=60)


def answers_in(folder: Path) -> list[str]:
    things = read_toml(folder / "fgembed.toml")["things"]
    assert list(things) == [question.key for question in QUESTIONS]
    return list(things.values())


def test_a_terminal_is_asked_in_plain_words_and_its_answers_are_in_the_file(workspace: Path):
    terminal = Terminal(workspace, "init", "photos")
    terminal.answer("no\n", "Y\n", "\n", "yes\n")
    assert terminal.ended() == 0
    for question in QUESTIONS:
        assert terminal.shown.count(f"{question.text} ({question.example})\r\n") == 1
    assert 'fgembed.toml: 1 images in photos\r\nnext: "fgembed train"' in terminal.shown
    assert answers_in(workspace) == ["no", "yes", "unknown", "yes"]
    config = resolve(read_toml(workspace / "fgembed.toml"), {}, "fgembed.toml")
    assert (config.views.hue, config.views.turn, config.views.crop_scale) == (0.5, 180, 0.8)


def test_what_is_no_answer_is_asked_again(workspace: Path):
    terminal = Terminal(workspace, "init", "photos")
    terminal.answer("perhaps\n", "no\n", "\n", "\xff\n", "?\n", "n\n")
    assert terminal.ended() == 0
    assert terminal.shown.count(PROMPT) == 6
    assert answers_in(workspace) == ["no", "unknown", "unknown", "no"]


def test_only_what_no_option_answers_is_asked(workspace: Path):
    terminal = Terminal(workspace, "init", "photos", "--turns", "no", "--size=unknown")
    terminal.answer("yes\n", "no\n")
    assert terminal.ended() == 0
    assert terminal.shown.count(PROMPT) == 2
    assert answers_in(workspace) == ["yes", "no", "no", "unknown"]


@pytest.mark.parametrize("keys", ["\x03", "\x04"], ids=["interrupt", "end of input"])
def test_a_question_that_is_broken_off_writes_nothing(workspace: Path, keys: str):
    terminal = Terminal(workspace, "init", "photos")
    terminal.answer("no\n", keys)
    assert terminal.ended() == 130
    assert [path.name for path in workspace.iterdir()] == ["photos"]
    assert "Traceback" not in terminal.shown


def test_nothing_is_asked_before_a_file_that_exists_is_refused(workspace: Path):
    (workspace / "fgembed.toml").write_text("mine")
    terminal = Terminal(workspace, "init", "photos")
    assert terminal.ended() == 1
    assert "fgembed.toml exists" in terminal.shown
    assert PROMPT not in terminal.shown
    assert (workspace / "fgembed.toml").read_text() == "mine"


def test_a_terminal_can_be_left_unasked(workspace: Path):
    terminal = Terminal(workspace, "init", "photos", "--no-ask", "--mirror", "no")
    assert terminal.ended() == 0
    assert PROMPT not in terminal.shown
    assert answers_in(workspace) == ["unknown", "unknown", "no", "unknown"]


@pytest.mark.parametrize("away", ["stdin", "stdout", "stderr"])
def test_nothing_is_asked_where_a_stream_is_not_the_terminal_s(workspace: Path, away: str):
    terminal = Terminal(workspace, "init", "photos", away=away)
    assert terminal.ended() == 0
    assert PROMPT not in terminal.shown
    assert answers_in(workspace) == ["unknown"] * 4


def test_without_a_terminal_nothing_is_asked(workspace: Path, command: Command):
    done = command("init", "photos", "--colour", "yes")
    assert (done.code, done.err) == (0, "")
    assert done.out == 'fgembed.toml: 1 images in photos\nnext: "fgembed train"\n'
    assert answers_in(workspace) == ["yes", "unknown", "unknown", "unknown"]


def test_a_wrong_answer_names_the_right_ones(workspace: Path, command: Command):
    done = command("init", "photos", "--colour", "maybe")
    refused(done, 2, "'maybe' is not one of 'yes', 'no', 'unknown'", "--help")
    assert not (workspace / "fgembed.toml").exists()


def test_a_training_takes_answers_by_set_and_refuses_wrong_ones(workspace: Path, command: Command):
    tiny = ["--backbone", "torchvision/resnet18:layer1", "--weights", "random"]
    small = ["--set", "preprocessing.size=32", "--set", "workers=0", "--set", "things.colour=no"]
    for place in range(40):
        image = Image.new("RGB", (40, 30), (5 * place, 200 - 5 * place, 90))
        image.save(workspace / "photos" / f"{place}.png")
    options = [*tiny, *small, "--set", "optimiser.batch_size=8"]
    done = command("train", "--dry-run", "--json", "--images", "photos", *options)
    settings = done.answer()["config"]
    assert settings["things"]["colour"] == "no"
    assert (settings["views"]["hue"], settings["views"]["grey_probability"]) == (0.5, 0.3)
    wrong = command("train", "--images", "photos", "--set", "things.turns=maybe")
    refused(wrong, 2, "things.turns: input should be 'yes', 'no' or 'unknown', got 'maybe'")
