"""Images that were moved, renamed or replaced are known by their content; entries follow files."""

import os
import shutil
import sqlite3
import unicodedata
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest
from PIL import Image

from fgembed.bundle import Bundle
from fgembed.disk.files import sha256
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.images.finding import find_images
from fgembed.index import Searcher
from fgembed.index.changes.add import add_images
from fgembed.index.changes.build import build_index
from fgembed.index.changes.compact import compact
from fgembed.index.changes.plan import Sync
from fgembed.index.changes.relocate import relocate
from fgembed.index.changes.remove import remove_paths, remove_where
from fgembed.index.format.manifest import Manifest
from fgembed.index.format.metadata_table import open_items
from fgembed.index.tools.verify import verify
from tests.index.making import indexed_ids


@pytest.fixture
def model(bundle: Path) -> Bundle:
    return Bundle.open(bundle)


@pytest.fixture
def never_embedding(image_index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From when the index is built on."""

    def refuse(*_: object) -> None:
        raise AssertionError("an image was embedded")

    monkeypatch.setattr(OnnxEmbedder, "embed", refuse)


def turn(path: Path) -> None:
    """Changes the content, but neither the size (a JPEG may have bytes after its end) nor time."""
    before = path.stat()
    Image.open(path).transpose(Image.Transpose.ROTATE_180).save(path, quality=30)
    with path.open("ab") as file:
        file.write(bytes(before.st_size - path.stat().st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


@pytest.mark.usefixtures("never_embedding")
@pytest.mark.parametrize("sync", [None, Sync()])
def test_a_moved_project_keeps_ids_and_labels_at_no_cost(
    image_index: Path, image_folder: Path, model: Bundle, sync: Sync | None
):
    before = indexed_ids(image_index)
    labels = {
        hit.id: hit.metadata for hit in Searcher.open(image_index).search(next(iter(before)), 99)
    }
    new = image_folder.parent / "elsewhere" / "pictures"
    new.parent.mkdir()
    image_folder.rename(new)
    report = add_images(image_index, new, model, sync=sync)
    assert (report.moved, report.added, report.removed, report.unchanged) == (24, 0, 0, 0)
    assert indexed_ids(image_index) == {
        new / path.relative_to(image_folder): id_ for path, id_ in before.items()
    }
    assert Manifest.read(image_index).roots == [str(new)]
    hits = Searcher.open(image_index).search(find_images(new)[0][0], 99)
    assert {hit.id: hit.metadata for hit in hits} == labels
    assert verify(image_index).problems == []
    again = add_images(image_index, new, model, sync=sync)
    assert (again.moved, again.unchanged, again.manifest) == (0, 24, report.manifest)


def test_copies_keep_their_own_places_in_a_moved_tree(
    image_folder: Path, model: Bundle, tmp_path: Path
):
    classes = sorted(image_folder.iterdir())
    for folder in classes[1:]:
        shutil.copy(find_images(classes[0])[0][0], folder / "copy.jpg")
    build_index(image_folder, model, tmp_path / "i")
    before = indexed_ids(tmp_path / "i")
    new = image_folder.rename(tmp_path / "new")
    assert add_images(tmp_path / "i", new, model, sync=Sync()).moved == 26
    assert indexed_ids(tmp_path / "i") == {
        new / path.relative_to(image_folder): id_ for path, id_ in before.items()
    }


@pytest.mark.usefixtures("never_embedding")
def test_names_that_are_exchanged_move_the_entries(
    image_index: Path, image_folder: Path, model: Bundle
):
    before = indexed_ids(image_index)
    first, second, third = find_images(image_folder)[0][:3]
    spare = first.with_name("spare")
    first.rename(spare)
    second.rename(first)
    third.rename(second)
    spare.rename(third)
    report = add_images(image_index, image_folder, model, sync=Sync())
    assert (report.moved, report.replaced, report.unchanged) == (3, 0, 21)
    after = indexed_ids(image_index)
    assert [after[path] for path in (first, second, third)] == [
        before[path] for path in (second, third, first)
    ]


@pytest.mark.usefixtures("never_embedding")
def test_an_image_that_replaces_another_takes_its_place(
    image_index: Path, image_folder: Path, model: Bundle
):
    before = indexed_ids(image_index)
    first, second = find_images(image_folder)[0][:2]
    first.replace(second)
    report = add_images(image_index, image_folder, model, sync=Sync())
    assert (report.moved, report.removed, report.unchanged) == (1, 1, 22)
    after = indexed_ids(image_index)
    assert after[second] == before[first]
    assert first not in after and len(after) == 23


@pytest.mark.usefixtures("never_embedding")
def test_a_label_follows_its_folder_and_other_metadata_stays(
    image_index: Path, image_folder: Path, model: Bundle
):
    first, second, _ = sorted(image_folder.iterdir())
    ids = {id_ for path, id_ in indexed_ids(image_index).items() if path.parent == first}
    first.rename(image_folder / "Rose\u0301")
    add_images(image_index, image_folder, model, sync=Sync())
    searcher = Searcher.open(image_index)
    query = find_images(image_folder)[0][0]
    for form in ("NFC", "NFD"):
        label = unicodedata.normalize(form, "Ros\u00e9")
        assert {hit.id for hit in searcher.search(query, 99, where=f"label = '{label}'")} == ids
        like = f"path like '%/{label}/%' and label <> '{second.name}'"
        assert {hit.id for hit in searcher.search(query, 99, where=like)} == ids
    assert searcher.search(query, 99, where=f"label = '{first.name}'") == []
    composed = unicodedata.normalize("NFC", "Rose\u0301")
    assert remove_paths(image_index, [image_folder / composed]).removed == len(ids)


def test_a_manifest_keeps_its_columns_when_its_images_move(
    image_folder: Path, model: Bundle, tmp_path: Path
):
    images = find_images(image_folder)[0][:6]
    table, index = tmp_path / "t.csv", tmp_path / "i"
    lines = [f"{path},{path.parent.name},{2000 + n}" for n, path in enumerate(images)]
    table.write_text("path,label,year\n" + "\n".join(lines) + "\n")
    build_index(table, model, index)
    new = image_folder.rename(tmp_path / "new")
    table.write_text(table.read_text().replace(str(image_folder), str(new)))
    assert add_images(index, table, model).moved == 6
    compact(index)
    hits = Searcher.open(index).search(find_images(new)[0][0], 9, where="year > 2002")
    assert sorted((hit.path, hit.metadata["year"]) for hit in hits) == [
        (new / path.relative_to(image_folder), 2000 + n) for n, path in enumerate(images) if n > 2
    ]
    assert {hit.metadata["label"] for hit in hits} == {images[0].parent.name}


@pytest.mark.usefixtures("never_embedding")
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_folder_is_found_by_either_spelling_of_its_letters(
    image_index: Path,
    image_folder: Path,
    model: Bundle,
    form: Literal["NFC", "NFD"],
    tmp_path: Path,
):
    disk, given = "Ros\u00e9", unicodedata.normalize(form, "Ros\u00e9")
    new = image_folder.rename(tmp_path / disk)
    assert add_images(image_index, tmp_path / given, model, sync=Sync()).moved == 24
    assert set(indexed_ids(image_index)) == set(find_images(new)[0])
    (tmp_path / "list.txt").write_text("".join(
        f"{given}/{path.relative_to(new)}\n{path}\n" for path in find_images(new)[0]
    ))  # fmt: skip
    report = add_images(image_index, tmp_path / "list.txt", model)
    assert (report.unchanged, report.added, len(report.repeated)) == (24, 0, 24)
    (tmp_path / "away").mkdir()
    away = new.rename(tmp_path / "away" / disk)
    relocate(image_index, tmp_path / given, tmp_path / "away" / given)
    assert set(indexed_ids(image_index)) == set(find_images(away)[0])


def test_an_image_whose_file_exists_has_copies_and_not_moves(
    image_index: Path, image_folder: Path, model: Bundle
):
    first = find_images(image_folder)[0][0]
    shutil.copy2(first, image_folder / "copy.jpg")
    report = add_images(image_index, image_folder, model, sync=Sync())
    assert (report.added, report.moved, report.unchanged) == (1, 0, 24)


@pytest.mark.usefixtures("never_embedding")
def test_a_library_that_is_reached_over_a_link_is_not_indexed_again(
    image_index: Path, image_folder: Path, model: Bundle, tmp_path: Path
):
    before = indexed_ids(image_index)
    (tmp_path / "link").symlink_to(image_folder)
    (tmp_path / "single.jpg").symlink_to(find_images(image_folder)[0][0])
    (image_folder / "0").symlink_to(find_images(image_folder)[0][0].parent)
    for source in ("link", "single.jpg"):
        report = add_images(image_index, tmp_path / source, model)
        assert (report.added, report.moved) == (0, 0)
    report = add_images(image_index, tmp_path / "link", model, sync=Sync())
    assert (report.added, report.removed, report.unchanged) == (0, 0, 24)
    assert indexed_ids(image_index) == before
    assert remove_paths(image_index, [tmp_path / "link"]).removed == 24


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


def test_moves_of_an_index_with_removed_images_and_several_segments(
    image_index: Path, image_folder: Path, model: Bundle, photos: Path, tmp_path: Path
):
    shutil.copytree(photos / "test", image_folder / "more")
    add_images(image_index, image_folder, model)
    remove_where(image_index, "id < 5")
    before = indexed_ids(image_index)
    new = image_folder.rename(tmp_path / "new")
    report = add_images(image_index, new, model, sync=Sync())
    assert (report.moved, report.added) == (28, 5)
    after = indexed_ids(image_index)
    assert {new / path.relative_to(image_folder): i for path, i in before.items()}.items() <= (
        after.items()
    )
    compact(image_index)
    assert indexed_ids(image_index) == after
    assert verify(image_index).problems == []


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
