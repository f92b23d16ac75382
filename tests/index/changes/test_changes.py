"""Adding, replacing, removing and bringing up to date, with real images and a real model."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgembed.bundle import Bundle
from fgembed.errors import FgembedError, NotFoundError
from fgembed.images.finding import find_images
from fgembed.index import Searcher
from fgembed.index.changes.add import add_images
from fgembed.index.changes.build import build_index
from fgembed.index.changes.compact import compact
from fgembed.index.changes.embed_images import SourceImages
from fgembed.index.changes.plan import Sync
from fgembed.index.changes.remove import remove_ids, remove_paths, remove_where
from fgembed.index.format.manifest import Manifest
from fgembed.index.segments.segment_builder import IndexSettings
from fgembed.index.tools.verify import verify
from tests.index.making import indexed_ids


def test_an_updated_index_equals_a_new_index_of_the_same_folder(
    image_index: Path, image_folder: Path, bundle: Path, photos: Path, tmp_path: Path
):
    opened, before = Bundle.open(bundle), indexed_ids(image_index)
    images = find_images(image_folder)[0]
    changed, touched, deleted = images[2], images[5], images[9:12]
    Image.open(changed).transpose(Image.Transpose.ROTATE_180).save(changed)
    os.utime(touched, (1, 1))
    for path in deleted:
        path.unlink()
    for path in find_images(photos / "test")[0]:
        shutil.copy(path, image_folder / path.parent.name / f"test-{path.name}")
    report = add_images(image_index, image_folder, opened, sync=Sync())
    assert (report.added, report.replaced, report.removed, report.unchanged) == (9, 1, 3, 20)
    build_index(image_folder, opened, tmp_path / "new")
    after = indexed_ids(image_index)
    assert after.keys() == indexed_ids(tmp_path / "new").keys() == set(find_images(image_folder)[0])
    unchanged = set(before) - {changed, *deleted}
    assert all(after[path] == before[path] for path in unchanged)
    assert after[changed] not in before.values()
    query = find_images(photos / "test")[0][4]
    updated, rebuilt = (
        Searcher.open(folder).search(query, 40) for folder in (image_index, tmp_path / "new")
    )
    assert [hit.path for hit in updated] == [hit.path for hit in rebuilt]
    assert [hit.score for hit in updated] == pytest.approx([hit.score for hit in rebuilt], abs=1e-5)
    again = add_images(image_index, image_folder, opened, sync=Sync())
    assert (again.added, again.replaced, again.removed, again.unchanged) == (0, 0, 0, 30)
    assert again.manifest == report.manifest


def test_labels_of_added_images_come_from_their_folders(
    image_index: Path, image_folder: Path, bundle: Path, photos: Path
):
    kinds = sorted(path.name for path in image_folder.iterdir())
    new = find_images(photos / "test" / kinds[1])[0][0]
    shutil.copy(new, image_folder / kinds[1] / "new.jpg")
    add_images(image_index, image_folder / kinds[1] / "new.jpg", Bundle.open(bundle))
    (image_folder / "fresh").mkdir()
    shutil.copy(new, image_folder / "fresh" / "one.jpg")
    add_images(image_index, image_folder / "fresh", Bundle.open(bundle))
    searcher = Searcher.open(image_index)
    hits = searcher.search(new, 30, where=f"label = '{kinds[1]}'")
    assert {hit.path.parent.name for hit in hits} == {kinds[1]}
    assert len(hits) == 9
    assert hits[0].metadata == {"label": kinds[1]}
    (fresh,) = searcher.search(new, 30, where="label = 'fresh'")
    assert fresh.path == image_folder / "fresh" / "one.jpg"
    assert searcher.search(new, 30, where="label = 'unknown'") == []


def test_a_manifest_gives_columns_and_an_index_without_them_has_null(
    image_folder: Path, bundle: Path, tmp_path: Path
):
    images = find_images(image_folder)[0]
    lines = [f"{path},{2000 + n},{'' if n % 2 else 'red'}" for n, path in enumerate(images[:10])]
    table = tmp_path / "some.csv"
    table.write_text("path,year,colour\n" + "\n".join(lines) + "\n")
    index = tmp_path / "i"
    build_index(table, Bundle.open(bundle), index)
    add_images(index, image_folder, Bundle.open(bundle))
    assert Manifest.read(index).columns == {"year": "INTEGER", "colour": "TEXT", "label": "TEXT"}
    searcher = Searcher.open(index)
    hits = searcher.search(images[0], 30, where="year > 2003 and colour = 'red'")
    assert sorted(hit.path for hit in hits) == images[4:10:2]
    assert len(searcher.search(images[0], 30, where="year is null")) == 14
    compact(index)
    again = Searcher.open(index).search(images[0], 30, where="year > 2003 and colour = 'red'")
    assert [(hit.id, hit.metadata) for hit in again] == [
        (hit.id, {**hit.metadata, "label": None}) for hit in hits
    ]


def test_removing_and_compacting_keeps_ids_and_order(
    image_index: Path, image_folder: Path, bundle: Path
):
    before = indexed_ids(image_index)
    kinds = sorted(path.name for path in image_folder.iterdir())
    remove_where(image_index, f"label = '{kinds[0]}'")
    remove_paths(image_index, [image_folder / kinds[1]])
    last = find_images(image_folder / kinds[2])[0]
    remove_ids(image_index, np.array([before[last[0]]]))
    assert indexed_ids(image_index) == {path: before[path] for path in last[1:]}
    query = last[0]
    hits = Searcher.open(image_index).search(query, 30)
    compact(image_index, IndexSettings("hnsw", "float16"))
    manifest = Manifest.read(image_index)
    assert (manifest.kind, manifest.store, manifest.removed) == ("hnsw", "float16", None)
    again = Searcher.open(image_index).search(query, 30)
    assert [(hit.id, hit.path, hit.metadata) for hit in again] == [
        (hit.id, hit.path, hit.metadata) for hit in hits
    ]
    remove_paths(image_index, [image_folder])
    assert Searcher.open(image_index).search(query, 3) == []
    compact(image_index)
    assert Manifest.read(image_index).segments == []
    assert Searcher.open(image_index).search(query, 3) == []
    assert verify(image_index).problems == []
    assert add_images(image_index, image_folder, Bundle.open(bundle)).added == 24
    assert min(indexed_ids(image_index).values()) == 24  # ids are never used twice


def test_missing_items_cannot_be_removed(image_index: Path, image_folder: Path):
    state = (image_index / "manifest.json").read_text()
    with pytest.raises(
        NotFoundError, match=r'no item with id 77; take the ids .* "fgembed search --json"'
    ):
        remove_ids(image_index, np.array([1, 77]))
    with pytest.raises(
        NotFoundError, match=r'no image at or below .*; give a path .* "fgembed index info"'
    ):
        remove_paths(image_index, [next(iter(image_folder.iterdir())), image_folder / "elsewhere"])
    with pytest.raises(FgembedError, match="cannot be evaluated"):
        remove_where(image_index, "colour = 1")
    assert (image_index / "manifest.json").read_text() == state


def test_a_folder_that_is_not_mounted_does_not_empty_the_index(
    image_index: Path, image_folder: Path, bundle: Path
):
    shutil.move(image_folder, image_folder.parent / "away")
    image_folder.mkdir()
    shutil.copy(next((image_folder.parent / "away").rglob("*.jpg")), image_folder / "other.jpg")
    with pytest.raises(
        NotFoundError, match=r"none of the 24 indexed images .*; mount or restore the folder"
    ):
        add_images(image_index, image_folder, Bundle.open(bundle), sync=Sync())
    assert Manifest.read(image_index).count == 24


def test_a_changed_image_that_cannot_be_read_stays_as_it_was(
    image_index: Path, image_folder: Path, bundle: Path
):
    before = indexed_ids(image_index)
    bad = find_images(image_folder)[0][3]
    bad.write_bytes(b"no image")
    shutil.copy(find_images(image_folder)[0][4], image_folder / "new.jpg")
    report = add_images(image_index, image_folder, Bundle.open(bundle))
    assert [skipped.path for skipped in report.skipped] == [bad]
    assert (report.added, report.replaced) == (1, 0)
    again = add_images(image_index, image_folder, Bundle.open(bundle))
    assert (again.added, again.replaced, again.unchanged, len(again.skipped)) == (0, 0, 24, 1)
    assert indexed_ids(image_index)[bad] == before[bad]


def test_the_error_for_images_in_tar_files_tells_how_to_import_them(tmp_path: Path):
    import tarfile

    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        Image.new("RGB", (20, 20)).save(tmp_path / "a.jpg")
        tar.add(tmp_path / "a.jpg", "a.jpg")
    with pytest.raises(FgembedError, match=r"lie in tar files.*; unpack them, or index the folder"):
        SourceImages.of(tmp_path / "shard.tar")


def test_an_image_that_is_listed_twice_is_one_entry_with_the_metadata_of_its_first_row(
    image_folder: Path, bundle: Path, tmp_path: Path
):
    first, second = find_images(image_folder)[0][:2]
    table, index = tmp_path / "some.csv", tmp_path / "i"
    table.write_text(f"path,year\n{first},2019\n{second},2020\n{first},2021\n")
    built = build_index(table, Bundle.open(bundle), index)
    (again,) = built.repeated
    assert (again.path, again.first, again.other_metadata) == (first, first, True)
    hits = Searcher.open(index).search(first, 9)
    assert [(hit.path, hit.metadata["year"]) for hit in hits] == [(first, 2019), (second, 2020)]
    Image.open(first).transpose(Image.Transpose.ROTATE_180).save(first)
    report = add_images(index, table, Bundle.open(bundle))
    assert (report.added, report.replaced, report.unchanged) == (0, 1, 1)
    assert len(report.repeated) == 1
    assert [hit.path for hit in Searcher.open(index).search(first, 9)] == [first, second]
    assert remove_paths(index, [first]).removed == 1


def test_labels_stay_those_of_their_folders_when_segments_are_merged(
    image_folder: Path, bundle: Path, photos: Path, tmp_path: Path
):
    opened, index = Bundle.open(bundle), tmp_path / "i"
    shutil.copytree(photos / "test", tmp_path / "more")
    build_index(image_folder, opened, index)
    add_images(index, tmp_path / "more", opened)
    compact(index)
    (kind, *_) = sorted(path.name for path in image_folder.iterdir())
    for root in (image_folder, tmp_path / "more"):
        shutil.copy(find_images(root)[0][0], root / kind / "new.jpg")
        add_images(index, root, opened, sync=Sync())
    hits = Searcher.open(index).search(
        image_folder / kind / "new.jpg", 50, where=f"label = '{kind}'"
    )
    assert {hit.path.parent.name for hit in hits} == {kind}
    assert sum(hit.path.name == "new.jpg" for hit in hits) == 2
    assert len(hits) == 8 + 3 + 2
