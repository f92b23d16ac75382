"""Loader processes, however many, hand over the batches of none, by shared memory or by pipes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fgembed.config import ViewSettings
from fgembed.data import batch_transport
from fgembed.data.loading import ImageKey, make_loader
from fgembed.data.views import TwoViews
from tests.data.loaders import SPEC, images_of, keys, loaded, no_sharing


@pytest.mark.parametrize(("workers", "ahead"), [(1, 1), (1, 3), (2, 1), (3, 2)])
def test_any_number_of_processes_gives_the_batches_of_none(photos: Path, workers: int, ahead: int):
    expected = loaded(photos, 0)
    assert [view.shape for view in expected[0]] == [(5, 3, 32, 32)] * 2
    assert len(expected) == len(keys())
    torch.testing.assert_close(loaded(photos, workers, ahead=ahead), expected, rtol=0, atol=0)


def test_batches_through_pipes_are_the_same(photos: Path, monkeypatch: pytest.MonkeyPatch):
    expected = loaded(photos, 0)
    monkeypatch.setattr(batch_transport, "sharing_works", no_sharing)
    images = images_of(photos, TwoViews(ViewSettings(), SPEC))
    with pytest.warns(RuntimeWarning, match="do not suffice to share batches; pipes are used"):
        pipes = list(make_loader(images, keys(), 2))
    torch.testing.assert_close(pipes, expected, rtol=0, atol=0)


def test_batches_that_outgrow_the_first_one_arrive_whole(photos: Path):
    images = images_of(photos, TwoViews(ViewSettings(), SPEC))
    lengths: list[list[ImageKey]] = [[(0, i) for i in range(n)] for n in (2, 7, 1, 5)]
    expected = list(make_loader(images, lengths, 0))
    actual = list(make_loader(images, lengths, 1))
    torch.testing.assert_close(actual, expected, rtol=0, atol=0)


def test_no_batches_start_no_process(photos: Path):
    assert list(make_loader(images_of(photos, TwoViews(ViewSettings(), SPEC)), [], 2)) == []


FEW_DESCRIPTORS = """
import os, resource, sys, warnings
from pathlib import Path
from fgembed.config import ViewSettings
from fgembed.data.loading import TrainingImages, make_loader
from fgembed.data.views import TwoViews
from fgembed.images.finding import find_images
from fgembed.images.preprocessing import Preprocessing

spec = Preprocessing(size=32)
images = TrainingImages(find_images(Path(sys.argv[1]))[0], TwoViews(ViewSettings(), spec), spec, 0)
images[0, 0]  # imports what it needs
highest = max(int(name) for name in os.listdir("/proc/self/fd"))
resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1 + int(sys.argv[2]),) * 2)
print(len(list(make_loader(images, [[(0, 0)], [(0, 1)], [(0, 2)]], 4))))
"""


@pytest.mark.parametrize("descriptors", [3, 12])
def test_few_descriptors_cost_processes_and_no_batch(photos: Path, descriptors: int):
    command = [sys.executable, "-c", FEW_DESCRIPTORS, str(photos / "train"), str(descriptors)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "3\n", done.stderr
    assert "of 4 loader processes could be started (Too many open files)" in done.stderr
    assert "Traceback" not in done.stderr


def test_sharing_needs_room_and_descriptors():
    sample = [torch.zeros(3, 32, 32)] * 2
    assert batch_transport.sharing_works(sample, 1, 8)
    assert not batch_transport.sharing_works(sample, 10**9, 8)
    assert not batch_transport.sharing_works([torch.zeros(1)], 1, 10**6)


def test_sharing_needs_a_short_path_for_sockets(tmp_path: Path):
    code = """
import torch
from fgembed.data.batch_transport import sharing_works
print(sharing_works([torch.zeros(1)], 1, 1))
"""
    for folder, expected in (tmp_path, True), (tmp_path / ("long" * 20), False):
        folder.mkdir(exist_ok=True)
        environment = os.environ | {"TMPDIR": str(folder)}
        done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
        assert done.stdout.decode().strip() == str(expected)
