"""Vectors in bulk: the rows of the pictures, whoever embeds them, and no row for a bad one."""

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgembed.embedding.array_types import Vectors
from fgembed.embedding.bulk import embed_images
from fgembed.errors import IntegrityError
from fgembed.images.decoding import Pixels
from fgembed.images.preprocessing import Preprocessing

SPEC = Preprocessing(size=16)
BAD = (0, 5, 6, 22)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """23 pictures of which each has a grey of its own, and four are broken."""
    folder = tmp_path_factory.mktemp("greys")
    paths = [folder / f"{number:02}.png" for number in range(23)]
    for number, path in enumerate(paths):
        Image.new("L", (20, 20), 10 * number).save(path)
        if number in BAD:
            path.write_bytes(path.read_bytes()[:40])
    return paths


def grey(pixels: Pixels) -> Vectors:
    return np.stack([np.full(1, one.mean(), np.float32) for one in pixels])


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_rows_are_the_pictures_in_order_without_the_bad_ones(pictures, workers, batch_size):
    told: list[tuple[int, int]] = []
    rows = embed_images(
        grey,
        pictures,
        SPEC,
        batch_size=batch_size,
        workers=workers,
        report=lambda done, total: told.append((done, total)),
    )
    assert rows.positions == [place for place in range(23) if place not in BAD]
    np.testing.assert_array_equal(rows.vectors[:, 0], [10.0 * place for place in rows.positions])
    assert sorted(bad.path for bad in rows.skipped) == [pictures[place] for place in BAD]
    assert told == sorted(told) and told[-1] == (22, 23)


def test_each_worker_embeds_what_it_decoded(pictures):
    threads: set[int] = set()
    together = threading.Barrier(2, timeout=20)

    def embed(pixels: Pixels) -> Vectors:
        if len(threads) < 2:
            threads.add(threading.get_ident())
            together.wait()  # two batches are embedded at the same time
        return grey(pixels)

    embed_images(embed, pictures[7:15], SPEC, batch_size=4, workers=2)
    assert len(threads) == 2 and threading.get_ident() not in threads


@pytest.mark.parametrize("workers", [0, 2])
def test_a_model_that_gives_no_numbers_is_refused(pictures, workers):
    with pytest.raises(IntegrityError, match="not finite"):
        embed_images(lambda pixels: grey(pixels) * np.nan, pictures, SPEC, workers=workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_nothing_readable_is_no_rows(pictures, workers):
    rows = embed_images(grey, [pictures[place] for place in BAD], SPEC, workers=workers)
    assert (rows.positions, len(rows.vectors), len(rows.skipped)) == ([], 0, 4)
