"""No command writes an identifier, opens a connection or looks up a name.

Each runs with an empty home, in a network namespace of its own where every address leads back to
it: what it would send to the world is counted by the kernel and reaches nobody.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import SIZE, TINY

SHELL = (
    "ip link set lo up && ip route add local 0.0.0.0/0 dev lo && "
    '"$@"; code=$?; cat /proc/net/snmp /proc/net/snmp6 > "$COUNTERS"; exit $code'
)
FGEMBED = "from fgembed.cli.main import run; run()"
FONTS = "fontlist-"  # matplotlib's list of the machine's fonts; it holds no identifier
OPENER = (
    "import sys, time\n"
    "from fgembed.index import Searcher\n"
    "searcher = Searcher.open(sys.argv[1])\n"
    "print(searcher.search(sys.argv[2], k=1)[0].score)\n"
    "time.sleep(float(sys.argv[3]))\n"
)
WORKER = (
    "import multiprocessing, sys\n"
    "import fgembed\n"
    "def work(path):\n"
    "    import onnxruntime\n"
    "    onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])\n"
    "if __name__ == '__main__':\n"
    "    process = multiprocessing.get_context('spawn').Process(target=work, args=sys.argv[1:])\n"
    "    process.start(); process.join(); sys.exit(process.exitcode)\n"
)


def namespaces_work() -> bool:
    """Whether this machine lets us make a network namespace with a route."""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        return False
    command = ["unshare", "--net", "sh", "-c", "ip link set lo up"]
    return subprocess.run(command, capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not namespaces_work(), reason="needs network namespaces (root)")


@dataclass(frozen=True)
class Traffic:
    """What a process sent: TCP connections opened, UDP datagrams; and what it left behind."""

    connections: int
    datagrams: int
    files: list[str]
    errors: str


def isolated(folder: Path, *line: object) -> Traffic:
    """Runs Python in `folder` with an empty home and a network that leads nowhere."""
    home, counters = folder / "home", folder / "counters"
    home.mkdir(exist_ok=True)
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "ORT_", "HF_"))}
    environment |= {"HOME": str(home), "COUNTERS": str(counters)}
    command = ["unshare", "--net", "sh", "-c", SHELL, "sh", sys.executable, *map(str, line)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    counts = read_counters(counters.read_text())
    files = [path for path in home.rglob("*") if path.is_file()]
    files = [path for path in files if not path.name.startswith(FONTS)]
    return Traffic(
        connections=counts["Tcp.ActiveOpens"],
        datagrams=counts["Udp.OutDatagrams"] + counts["Udp6OutDatagrams"],
        files=sorted(str(path.relative_to(home)) for path in files),
        errors=done.stderr,
    )


def read_counters(text: str) -> dict[str, int]:
    """The kernel's counters of a namespace, by name."""
    counts: dict[str, int] = {}
    header: list[str] = []
    for line in text.splitlines():
        name, *values = line.split()
        if not name.endswith(":"):
            counts[name] = int(values[0])
        elif values and not values[0].lstrip("-").isdecimal():
            header = values
        else:
            counts |= {
                f"{name}{k}".replace(":", "."): int(v) for k, v in zip(header, values, strict=True)
            }
    return counts


def assert_silent(traffic: Traffic) -> None:
    assert (traffic.connections, traffic.datagrams, traffic.files) == (0, 0, [])
    assert "elemetry" not in traffic.errors


def test_a_look_up_and_a_connection_are_seen(tmp_path: Path):
    code = (
        "import socket\n"
        "from pathlib import Path\n"
        "try: socket.create_connection(('192.0.2.1', 443), 2)\n"
        "except OSError: pass\n"
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'name?', ('192.0.2.1', 53))\n"
        "(Path.home() / 'deviceid').write_text('7')\n"
    )
    traffic = isolated(tmp_path, "-c", code)
    assert (traffic.connections, traffic.datagrams, traffic.files) == (1, 1, ["deviceid"])


@pytest.mark.parametrize(
    "line",
    [
        ["--help"],
        ["doctor"],
        ["init", "{photos}/train"],
        ["index", "build", "{photos}/train", "--bundle", "{bundle}"],
        ["index", "info", "--index", "{index}"],
        ["index", "verify", "--index", "{index}"],
        ["index", "duplicates", "--index", "{index}"],
        ["embed", "{photos}/train", "--bundle", "{bundle}"],
        ["search", "{query}", "--index", "{index}", "--html", "hits.html", "--explain"],
    ],
    ids=lambda line: " ".join(line[:2]),
)
def test_a_command_that_serves_is_silent(
    line: list[str], bundle: Path, index: Path, photos: Path, tmp_path: Path
):
    query = sorted((photos / "test").rglob("*.jpg"))[0]
    names = {"bundle": bundle, "index": index, "photos": photos, "query": query}
    assert_silent(isolated(tmp_path, "-c", FGEMBED, *(part.format(**names) for part in line)))


@pytest.mark.slow
def test_the_commands_that_train_are_silent(photos: Path, tmp_path: Path):
    labelled = ["--gallery", photos / "train", "--queries", photos / "test"]
    small = ["optimiser.epochs=1", "optimiser.batch_size=8", f"preprocessing.size={SIZE}"]
    settings = [part for text in [*small, "workers=2"] for part in ("--set", text)]
    start = ["train", "--images", photos / "train", "--backbone", TINY, "--weights", "random"]
    for line in (
        [*start, *settings, "--dry-run"],
        [*start, *settings],
        ["evaluate", *labelled, "--report", "report"],
        ["export", "--onnx", "--force"],
        ["backbones", "torchvision/resnet18"],
    ):
        assert_silent(isolated(tmp_path, "-c", FGEMBED, *line))


@pytest.mark.slow
def test_a_search_in_a_program_that_lives_on_is_silent(index: Path, photos: Path, tmp_path: Path):
    """ONNX Runtime looks up its host about ten seconds after it was loaded."""
    query = sorted((photos / "test").rglob("*.jpg"))[0]
    assert_silent(isolated(tmp_path, "-c", OPENER, index, query, 15))


def test_a_worker_process_is_silent(bundle: Path, tmp_path: Path):
    (tmp_path / "worker.py").write_text(WORKER)
    model = bundle / "onnx" / "model.onnx"
    assert_silent(isolated(tmp_path, "worker.py", model))
