"""Images whose content changed are found, also under an old size and time."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image

from fgembed.bundle import Bundle
from fgembed.disk.files import sha256
from fgembed.images.finding import find_images
from fgembed.index import Searcher
from fgembed.index.changes.add import add_images
from fgembed.index.format.manifest import Manifest
from fgembed.index.format.metadata_table import open_items
from fgembed.index.tools.verify import verify
from tests.index.making import indexed_ids


def turn(path: Path) -> None:
    """Changes the content, but neither the size (a JPEG may have bytes after its end) nor time."""
    before = path.stat()
    Image.open(path).transpose(Image.Transpose.ROTATE_180).save(path, quality=30)
    with path.open("ab") as file:
        file.write(bytes(before.st_size - path.stat().st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def test_content_that_changed_under_an_old_size_and_time_is_found(
    image_index: Path, image_folder: Path, model: Bundle
):
    before = indexed_ids(image_index)
    changed = find_images(image_folder)[0][3]
    turn(changed)
    report = add_images(image_index, image_folder, model)
    assert (report.replaced, report.unchanged) == (1, 23)
    assert indexed_ids(image_index)[changed] not in before.values()


def test_an_index_without_times_of_status_is_read_and_checksums_find_what_it_cannot(
    image_index: Path, image_folder: Path, model: Bundle
):
    """Of an earlier release."""
    manifest = Manifest.read(image_index)
    table = image_index / manifest.segments[0].name / "items.sqlite"
    with closing(sqlite3.connect(table)) as connection, connection:
        connection.execute("ALTER TABLE items DROP COLUMN ctime_ns")
    name = f"{manifest.segments[0].name}/items.sqlite"
    manifest.segments[0].files[name] = sha256(table)
    manifest.write(image_index)
    before = Searcher.open(image_index).search(find_images(image_folder)[0][0], 99)
    assert {hit.metadata["label"] for hit in before} == {p.name for p in image_folder.iterdir()}
    turn(find_images(image_folder)[0][3])
    assert add_images(image_index, image_folder, model).unchanged == 24
    assert verify(image_index, checksums=True).changed == [str(find_images(image_folder)[0][3])]
    assert add_images(image_index, image_folder, model, checksums=True).replaced == 1
    assert verify(image_index, checksums=True).changed == []


def test_states_that_were_proved_are_kept_so_that_the_next_call_reads_nothing(
    image_index: Path, image_folder: Path, model: Bundle, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("fgembed.index.changes.rewritten_segments.PROVED_FROM", 20)
    for path in find_images(image_folder)[0]:
        os.utime(path, (1, 1))
    before = indexed_ids(image_index)
    assert add_images(image_index, image_folder, model).unchanged == 24
    assert indexed_ids(image_index) == before
    (segment,) = Manifest.read(image_index).segments
    with closing(open_items(image_index / segment.name / "items.sqlite")) as connection:
        assert set(connection.execute("SELECT mtime_ns FROM items")) == {(10**9,)}
    monkeypatch.setattr("fgembed.index.library.comparison.sha256", None)
    assert add_images(image_index, image_folder, model).unchanged == 24


def test_a_changed_image_is_noticed_though_a_link_to_it_is_listed_before_it(
    image_index: Path, image_folder: Path, model: Bundle
):
    image = find_images(image_folder)[0][-1]
    turn(image)
    link = image_folder / "0.jpg"
    link.symlink_to(image)
    report = add_images(image_index, image_folder, model)
    assert (report.replaced, report.added, len(report.repeated)) == (1, 0, 1)
    assert link not in indexed_ids(image_index)
    (hit,) = Searcher.open(image_index).search(image, 1)
    assert hit.path == image and hit.score > 0.9999
