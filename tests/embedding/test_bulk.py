"""Vectors in bulk: a row for each readable image, in order, with any number of workers."""

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
def images(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """23 images, each of another grey, of which four are broken."""
    folder = tmp_path_factory.mktemp("greys")
    paths = [folder / f"{number:02}.png" for number in range(23)]
    for number, path in enumerate(paths):
        Image.new("L", (20, 20), 10 * number).save(path)
        if number in BAD:
            path.write_bytes(path.read_bytes()[:40])
    return paths


def grey(pixels: Pixels) -> Vectors:
    return np.stack([np.full(1, image.mean(), np.float32) for image in pixels])


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("batch_size", [1, 4, 50])
def test_rows_are_the_readable_images_in_order(images, workers, batch_size):
    counts: list[tuple[int, int]] = []
    rows = embed_images(
        grey,
        images,
        SPEC,
        batch_size=batch_size,
        workers=workers,
        report=lambda done, total: counts.append((done, total)),
    )
    assert rows.positions == [position for position in range(23) if position not in BAD]
    np.testing.assert_array_equal(
        rows.vectors[:, 0], [10.0 * position for position in rows.positions]
    )
    assert sorted(bad.path for bad in rows.skipped) == [images[position] for position in BAD]
    assert counts == sorted(counts) and counts[-1] == (22, 23)


def test_a_worker_embeds_the_batch_that_it_decoded(images):
    threads: set[int] = set()
    together = threading.Barrier(2, timeout=20)

    def embed(pixels: Pixels) -> Vectors:
        if len(threads) < 2:
            threads.add(threading.get_ident())
            together.wait()  # two batches are embedded at the same time
        return grey(pixels)

    embed_images(embed, images[7:15], SPEC, batch_size=4, workers=2)
    assert len(threads) == 2 and threading.get_ident() not in threads


@pytest.mark.parametrize("workers", [0, 2])
def test_a_model_that_gives_no_numbers_is_refused(images, workers):
    with pytest.raises(IntegrityError, match="not finite"):
        embed_images(lambda pixels: grey(pixels) * np.nan, images, SPEC, workers=workers)


@pytest.mark.parametrize("workers", [0, 2])
def test_unreadable_images_alone_give_no_rows(images, workers):
    rows = embed_images(grey, [images[position] for position in BAD], SPEC, workers=workers)
    assert (rows.positions, len(rows.vectors), len(rows.skipped)) == ([], 0, 4)
