"""Loader processes that end, hang or fail cost no batch, and none outlives its training."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import active_children
from pathlib import Path

import pytest
import torch

from fgembed.config import ViewSettings
from fgembed.data import batch_transport
from fgembed.data.loading import make_loader
from fgembed.data.views import TwoViews
from fgembed.errors import ConfigError, FgembedError
from fgembed.images.preprocessing import Preprocessing
from tests.data.loaders import SPEC, images_of, keys, loaded, no_sharing


def once(marker: Path, action: Callable[[], None]) -> Callable[[], None]:
    """The action, but only the first process that comes to it does it."""

    def act() -> None:
        try:
            marker.mkdir()
        except FileExistsError:
            return
        action()

    return act


def end_self() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_after_a_kill_fewer_processes_give_the_same_batches(photos: Path, tmp_path: Path):
    kill = once(tmp_path / "killed", end_self)
    with pytest.warns(
        RuntimeWarning,
        match=r"process ended \(signal 9, as for want of memory\); going on with 1",
    ):
        disturbed = loaded(photos, 2, kill)
    torch.testing.assert_close(disturbed, loaded(photos, 0), rtol=0, atol=0)


def test_if_every_process_ends_this_one_loads_the_images(photos: Path):
    with pytest.warns(RuntimeWarning) as told:
        disturbed = loaded(photos, 2, lambda: os._exit(3))
    assert [str(warning.message) for warning in told] == [
        "a loader process ended (code 3); going on with 1",
        "a loader process ended (code 3); going on without any",
    ]
    torch.testing.assert_close(disturbed, loaded(photos, 0), rtol=0, atol=0)


def test_a_kill_while_a_large_batch_is_handed_over_is_noticed(
    photos: Path, monkeypatch: pytest.MonkeyPatch
):
    """Through a pipe, in the middle of a message."""
    monkeypatch.setattr(batch_transport, "sharing_works", no_sharing)
    images = images_of(photos, TwoViews(ViewSettings(), Preprocessing(size=224)))
    expected = [views[1] for views in make_loader(images, keys(), 0)]
    loader = make_loader(images, keys(), 1)
    with pytest.warns(RuntimeWarning, match="pipes are used"):
        actual = [next(loader)[1]]
    time.sleep(1)  # the next batch, of 6 MB, now fills the pipe
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    with pytest.warns(RuntimeWarning, match="signal 9"):
        actual += [views[1] for views in loader]
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_a_process_that_hangs_is_not_waited_for_without_end(
    photos: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(batch_transport, "PATIENCE_S", 1.0)
    monkeypatch.setattr(batch_transport, "PATIENCE_S_AN_IMAGE", 0.0)
    began = time.monotonic()
    with pytest.raises(FgembedError, match="given no batch for 1 s; check the disk of the images"):
        loaded(photos, 1, lambda: time.sleep(600))
    assert time.monotonic() - began < 30


def test_a_fault_in_a_loader_process_keeps_its_class_and_its_place(photos: Path):
    def fail() -> None:
        raise ZeroDivisionError("in the views")

    with pytest.raises(ZeroDivisionError, match="in the views") as caught:
        loaded(photos, 1, fail)
    assert "in fail" in caught.value.__notes__[0]


def test_a_process_that_ends_during_a_step_does_not_interrupt_it(photos: Path):
    images = images_of(photos, TwoViews(ViewSettings(), SPEC))
    before, others = signal.getsignal(signal.SIGCHLD), active_children()
    loader = make_loader(images, keys(), 2)
    actual = [next(loader)]
    children = [child for child in active_children() if child not in others]
    assert len(children) == 2
    os.kill(children[0].pid or 0, signal.SIGKILL)
    until = time.monotonic() + 1
    while time.monotonic() < until:
        pass
    with pytest.warns(RuntimeWarning, match=r"signal 9.*; going on with 1"):
        actual.append(next(loader))
    assert not any(child.is_alive() for child in children)
    actual += loader
    assert signal.getsignal(signal.SIGCHLD) is before
    torch.testing.assert_close(actual, loaded(photos, 0), rtol=0, atol=0)


def test_an_error_of_a_loader_process_arrives_as_it_was_raised(photos: Path):
    def fail() -> None:
        raise ConfigError("no such thing", "set it")

    with pytest.raises(ConfigError) as caught:
        loaded(photos, 1, fail)
    assert (caught.value.fact, caught.value.remedy) == ("no such thing", "set it")
    assert not hasattr(caught.value, "__notes__")


def test_the_processes_end_with_the_loader(photos: Path):
    images = images_of(photos, TwoViews(ViewSettings(), SPEC))
    loader = make_loader(images, keys(), 2)
    next(loader)
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before = children.read_text().split()
    loader.close()  # type: ignore[attr-defined]
    assert len(children.read_text().split()) == len(before) - 2


ORPHANING = """
import os, sys, time
from pathlib import Path
from fgembed.config import ViewSettings
from fgembed.data.loading import TrainingImages, make_loader
from fgembed.data.views import TwoViews
from fgembed.images.finding import find_images
from fgembed.images.preprocessing import Preprocessing

spec = Preprocessing(size=32)
images = TrainingImages(find_images(Path(sys.argv[1]))[0], TwoViews(ViewSettings(), spec), spec, 0)
endless = [[(e, i % 24) for i in range(int(sys.argv[2]))] for e in range(500)]
if sys.argv[4] == "pipes":
    from fgembed.data import batch_transport
    batch_transport.sharing_works = lambda *_: False
loader = make_loader(images, endless, 2)
next(loader)
time.sleep(float(sys.argv[3]))
print(Path(f"/proc/self/task/{os.getpid()}/children").read_text(), flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.mark.parametrize(
    ("batch_size", "wait_s", "transport"), [(400, 0, "shared"), (2, 2, "shared"), (20, 2, "pipes")]
)
def test_a_killed_training_leaves_no_process_behind(
    photos: Path, tmp_path: Path, batch_size: int, wait_s: int, transport: str
):
    folder, output = str(photos / "train"), tmp_path / "output"
    command = [sys.executable, "-c", ORPHANING, folder, str(batch_size), str(wait_s)]
    command.append(transport)
    with output.open("w") as stream:  # a pipe would be open as long as a process is left
        subprocess.run(command, stdout=stream, check=False)
    children = output.read_text().split()
    assert len(children) == 2
    deadline = time.monotonic() + 20
    while any(_runs(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def _runs(process: str) -> bool:
    try:
        return " Z " not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False
