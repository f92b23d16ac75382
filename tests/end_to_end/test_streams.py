"""Whatever the standard streams and the current folder are like, a command ends in words."""

import fcntl
import os
import pty
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

FGEMBED = [sys.executable, "-c", "from fgembed.cli.main import run; run()"]
OLD = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C", "LANG": "C"}
NAMES = [
    "größe.jpg",
    "東京 🦜.jpg",
    "ar\u0627\u0644.jpg",
    "two\nlines\t.jpg",
    "red\x1b[31m.jpg",
    "turned\u202egpj.exe.jpg",
    "[bold]x[red] {0} %s.jpg",
    "'\"<b>&.jpg",
    "x" * 240 + ".jpg",
]

Done = subprocess.CompletedProcess[str]


def shell(line: str, folder: Path, *arguments: object, **environment: str) -> Done:
    """Runs a shell line in which "$@" is fgembed with the arguments."""
    command = ["sh", "-c", line, "sh", *FGEMBED, *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True,
        errors="surrogateescape", timeout=120,
    )  # fmt: skip


@pytest.fixture(scope="module")
def odd_gallery(bundle: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an index of photographs with odd names, `photos.index`."""
    folder = tmp_path_factory.mktemp("odd größe")
    (folder / "photos" / "klasse ß").mkdir(parents=True)
    sources = sorted((photos / "train").rglob("*.jpg"))
    for name, source in zip(NAMES, sources, strict=False):
        shutil.copy(source, folder / "photos" / "klasse ß" / name)
    arguments = ("index", "build", "photos", "--bundle", bundle, "--out", "photos.index")
    done = shell('"$@"', folder, *arguments, **OLD)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_shown_in_an_old_locale(odd_gallery: Path, name: str):
    query = f"photos/klasse ß/{name}"
    arguments = ("search", query, "--index", "photos.index", "-k", "20", "--png", "x.png")
    done = shell('"$@"', odd_gallery, *arguments, "--html", "x.html", **OLD)
    assert (done.returncode, done.stderr) == (0, "")
    hits = done.stdout.splitlines()
    assert len(hits) == 1 + len(NAMES) + 2
    assert hits[1].split()[:2] == ["1", "1.000"]
    assert done.stdout.replace("\n", "").isprintable()
    assert done.stdout.isascii()
    assert r"gr\xf6\xdfe.jpg" in done.stdout
    assert r"turned\u202egpj" in done.stdout
    assert "[bold]x[red] {0} %s.jpg" in done.stdout
    page = (odd_gallery / "x.html").read_text("utf-8")
    assert "größe.jpg" in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "&lt;b&gt;&amp;.jpg" in page


@pytest.mark.parametrize("name", [*NAMES[:4], b"gr\xf6\xdfe.jpg"])
def test_a_name_in_an_error_is_shown_in_an_old_locale(odd_gallery: Path, name: str | bytes):
    query = name if isinstance(name, str) else os.fsdecode(name)
    done = shell('"$@"', odd_gallery, "search", query, "--index", "photos.index", **OLD)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: cannot read image ")
    assert done.stderr.count("\n") == 1
    assert done.stderr.isascii()


@pytest.mark.parametrize(
    "closing", [">&-", "2>&-", "<&-", ">&- 2>&-", "<&- >&- 2>&-"], ids=lambda text: text
)
def test_missing_streams_stop_no_work_and_get_into_no_file(
    odd_gallery: Path, photos: Path, closing: str
):
    out = odd_gallery / "closed.jsonl"
    out.unlink(missing_ok=True)
    arguments = ("search", "--queries", photos / "test", "--index", "photos.index")
    done = shell(f'"$@" {closing}', odd_gallery, *arguments, "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    lines = out.read_text("utf-8").splitlines()
    assert len(lines) == 9 * len(NAMES)
    assert all(line.startswith('{"query":') for line in lines)


def test_an_error_without_standard_output_is_told(odd_gallery: Path):
    done = shell('"$@" >&-', odd_gallery, "search", "none.jpg", "--index", "photos.index")
    assert done.returncode == 1
    assert done.stderr == (
        "error: cannot read image 'none.jpg': No such file or directory; correct its path\n"
    )


def test_a_list_from_a_missing_standard_input_is_empty(odd_gallery: Path, bundle: Path):
    done = shell('"$@" <&-', odd_gallery, "embed", "-", "--bundle", bundle)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no images in -; ")


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize(
    "arguments", [("doctor",), ("--help",), ("index", "info", "--index", "photos.index")]
)
def test_a_full_disk_behind_standard_output_is_named(
    odd_gallery: Path, arguments: tuple[str, ...], unbuffered: str
):
    done = shell('"$@" > /dev/full', odd_gallery, *arguments, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 1
    assert done.stderr == (
        "error: cannot write to standard output: No space left on device; "
        "free space, or send it elsewhere\n"
    )


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_closes_early_gets_no_complaint(odd_gallery: Path, unbuffered: str):
    line = '{ sleep 3; "$@"; echo code $? >&2; } | true'
    done = shell(
        line, odd_gallery, "index", "info", "--index", "photos.index", PYTHONUNBUFFERED=unbuffered
    )
    assert done.stderr == "code 1\n"


@pytest.mark.parametrize("columns", [0, 1, 30])
@pytest.mark.parametrize("extra", [{}, {"TERM": "dumb"}, {"COLUMNS": "0"}, {"NO_COLOR": "1"}])
def test_a_terminal_of_any_width_shows_the_hits(
    odd_gallery: Path, columns: int, extra: dict[str, str]
):
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 0, columns, 0, 0))
    arguments = ["search", "photos/klasse ß/größe.jpg", "--index", "photos.index", "-k", "2"]
    with subprocess.Popen(
        [*FGEMBED, *arguments], cwd=odd_gallery, stdout=theirs, stderr=theirs,
        env=os.environ | {"TERM": "xterm"} | extra,
    ) as process:  # fmt: skip
        os.close(theirs)
        output = b""
        try:
            while part := os.read(ours, 4096):
                output += part
        except OSError:  # the terminal is closed
            pass
    os.close(ours)
    assert process.returncode == 0
    assert "1.000" in output.decode()
    assert "jpg" in output.decode()


def test_a_current_folder_that_is_gone_is_named(odd_gallery: Path, tmp_path: Path):
    query = odd_gallery / "photos" / "klasse ß" / "größe.jpg"
    arguments = ("search", query, "--index", odd_gallery / "photos.index")
    done = shell('mkdir gone && cd gone && rmdir ../gone && "$@"', tmp_path, *arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: the current folder is not usable: No such file or directory; "
        'change to another folder with "cd", then run the command again\n'
    )
    done = shell('mkdir gone && cd gone && rmdir ../gone && "$@"', tmp_path, "search", "--help")
    assert done.returncode == 0
    assert "Find the nearest images" in done.stdout


def test_a_home_that_is_unknown_stops_nothing(odd_gallery: Path):
    query = "photos/klasse ß/größe.jpg"
    done = shell('unset HOME; "$@"', odd_gallery, "search", query, "--index", "photos.index")
    assert (done.returncode, done.stderr) == (0, "")
    assert shell('unset HOME; "$@"', odd_gallery, "doctor").returncode == 0
