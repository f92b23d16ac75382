"""What the tests of bad input share."""

import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fgembed.embedding.array_types import Vectors
from fgembed.index.format.manifest import Manifest
from fgembed.index.search.open_index import IndexedVectors
from tests.conftest import Outcome

Damage = Callable[[Path], None]


def refused(done: Outcome, code: int, *words: str) -> None:
    """Asserts the exit code and one line on stderr that holds the words.

    Nothing else is there but, before it, the stages in which a training or an export was, and what
    the training told of its cost.
    """
    assert done.code == code, done.err
    assert done.out == ""
    said = r"checking \d+ images|onnx/\S+: exporting[^\n]*|recall@1 on [^\n]+|int8 in [^\n]+"
    said += r"|measuring what this costs here[^\n]*(?:\n  [^\n]+|\n(?=\n  ))*"  # and its tables
    stages = re.compile(rf"((?:{said})\n)*(error: [^\n]+\n)")
    match = stages.fullmatch(done.err)
    assert match, done.err
    assert all(c == "\n" or c.isprintable() for c in done.err)
    for word in words:
        assert word in match[2]


def checked_picture(size: tuple[int, int] = (64, 64)) -> Image.Image:
    """Four quarters of four colours, so that no turn or flip leaves it the same."""
    quarters = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 0]]], np.uint8)
    return Image.fromarray(quarters).resize(size, Image.Resampling.NEAREST)


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def flipped(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) * 3 // 4] ^= 1
    file.write_bytes(content)


def garbage(file: Path) -> None:
    file.write_bytes(b"\xff\x00{garbage")


def vectors_by_path(index: Path) -> dict[str, Vectors]:
    """Each item's vector."""
    manifest = Manifest.read(index)
    vectors = IndexedVectors(index, manifest)
    items = vectors.items(range(manifest.next_id))
    return {item.path: vectors.reconstruct(np.array([n]))[0] for n, (_, item, _) in items.items()}


@contextmanager
def within(seconds: int) -> Iterator[None]:
    """Fails a block that hangs."""

    def fail(*_: Any) -> None:
        raise AssertionError(f"not done within {seconds} s")

    before = signal.signal(signal.SIGALRM, fail)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
