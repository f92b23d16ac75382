"""Adding, replacing, removing and bringing up to date, with real pictures and a real model."""

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
from fgembed.index.changes.remove import remove_ids, remove_paths, remove_where
from fgembed.index.format.manifest import Manifest
from fgembed.index.segments.segment_builder import IndexSettings
from fgembed.index.tools.verify import verify
from tests.index.making import listed


def test_an_index_brought_up_to_date_equals_one_that_is_built_anew(
    gallery: Path, own: Path, bundle: Path, photos: Path, tmp_path: Path
):
    opened, before = Bundle.open(bundle), listed(gallery)
    pictures = find_images(own)[0]
    changed, touched, gone = pictures[2], pictures[5], pictures[9:12]
    Image.open(changed).transpose(Image.Transpose.ROTATE_180).save(changed)
    os.utime(touched, (1, 1))
    for path in gone:
        path.unlink()
    for path in find_images(photos / "test")[0]:
        shutil.copy(path, own / path.parent.name / f"test-{path.name}")
    report = add_images(gallery, own, opened, vanished=True)
    assert (report.added, report.replaced, report.removed, report.unchanged) == (9, 1, 3, 20)
    build_index(own, opened, tmp_path / "anew")
    after = listed(gallery)
    assert after.keys() == listed(tmp_path / "anew").keys() == set(find_images(own)[0])
    kept = set(before) - {changed, *gone}
    assert all(after[path] == before[path] for path in kept)
    assert after[changed] not in before.values()
    query = find_images(photos / "test")[0][4]
    one, other = (Searcher.open(place).search(query, 40) for place in (gallery, tmp_path / "anew"))
    assert [hit.path for hit in one] == [hit.path for hit in other]
    assert [hit.score for hit in one] == pytest.approx([hit.score for hit in other], abs=1e-5)
    again = add_images(gallery, own, opened, vanished=True)
    assert (again.added, again.replaced, again.removed, again.unchanged) == (0, 0, 0, 30)
    assert again.manifest == report.manifest


def test_labels_come_from_folders_also_for_what_is_added(
    gallery: Path, own: Path, bundle: Path, photos: Path
):
    kinds = sorted(path.name for path in own.iterdir())
    new = find_images(photos / "test" / kinds[1])[0][0]
    shutil.copy(new, own / kinds[1] / "new.jpg")
    add_images(gallery, own / kinds[1] / "new.jpg", Bundle.open(bundle))
    (own / "fresh").mkdir()
    shutil.copy(new, own / "fresh" / "one.jpg")
    add_images(gallery, own / "fresh", Bundle.open(bundle))
    searcher = Searcher.open(gallery)
    hits = searcher.search(new, 30, where=f"label = '{kinds[1]}'")
    assert {hit.path.parent.name for hit in hits} == {kinds[1]}
    assert len(hits) == 9
    assert hits[0].metadata == {"label": kinds[1]}
    (fresh,) = searcher.search(new, 30, where="label = 'fresh'")
    assert fresh.path == own / "fresh" / "one.jpg"
    assert searcher.search(new, 30, where="label = 'nobody'") == []


def test_a_manifest_gives_columns_and_an_index_without_them_has_null(
    own: Path, bundle: Path, tmp_path: Path
):
    pictures = find_images(own)[0]
    lines = [f"{path},{2000 + n},{'' if n % 2 else 'red'}" for n, path in enumerate(pictures[:10])]
    table = tmp_path / "some.csv"
    table.write_text("path,year,colour\n" + "\n".join(lines) + "\n")
    index = tmp_path / "i"
    build_index(table, Bundle.open(bundle), index)
    add_images(index, own, Bundle.open(bundle))
    assert Manifest.read(index).columns == {"year": "INTEGER", "colour": "TEXT", "label": "TEXT"}
    searcher = Searcher.open(index)
    found = searcher.search(pictures[0], 30, where="year > 2003 and colour = 'red'")
    assert sorted(hit.path for hit in found) == pictures[4:10:2]
    assert len(searcher.search(pictures[0], 30, where="year is null")) == 14
    compact(index)
    again = Searcher.open(index).search(pictures[0], 30, where="year > 2003 and colour = 'red'")
    assert [(hit.id, hit.metadata) for hit in again] == [
        (hit.id, {**hit.metadata, "label": None}) for hit in found
    ]


def test_removing_and_compacting_keeps_ids_and_order(gallery: Path, own: Path, bundle: Path):
    before = listed(gallery)
    kinds = sorted(path.name for path in own.iterdir())
    remove_where(gallery, f"label = '{kinds[0]}'")
    remove_paths(gallery, [own / kinds[1]])
    last = find_images(own / kinds[2])[0]
    remove_ids(gallery, np.array([before[last[0]]]))
    assert listed(gallery) == {path: before[path] for path in last[1:]}
    query = last[0]
    hits = Searcher.open(gallery).search(query, 30)
    compact(gallery, IndexSettings("hnsw", "float16"))
    manifest = Manifest.read(gallery)
    assert (manifest.kind, manifest.store, manifest.removed) == ("hnsw", "float16", None)
    again = Searcher.open(gallery).search(query, 30)
    assert [(hit.id, hit.path, hit.metadata) for hit in again] == [
        (hit.id, hit.path, hit.metadata) for hit in hits
    ]
    remove_paths(gallery, [own])
    assert Searcher.open(gallery).search(query, 3) == []
    compact(gallery)
    assert Manifest.read(gallery).segments == []
    assert Searcher.open(gallery).search(query, 3) == []
    assert verify(gallery).problems == []
    assert add_images(gallery, own, Bundle.open(bundle)).added == 24
    assert min(listed(gallery).values()) == 24  # ids are never used twice


def test_what_is_not_there_cannot_be_removed(gallery: Path, own: Path):
    state = (gallery / "manifest.json").read_text()
    with pytest.raises(NotFoundError, match="no item with id 77"):
        remove_ids(gallery, np.array([1, 77]))
    with pytest.raises(NotFoundError, match="no image at or below"):
        remove_paths(gallery, [next(iter(own.iterdir())), own / "elsewhere"])
    with pytest.raises(FgembedError, match="cannot be asked"):
        remove_where(gallery, "colour = 1")
    assert (gallery / "manifest.json").read_text() == state


def test_a_folder_that_is_not_mounted_does_not_empty_the_index(
    gallery: Path, own: Path, bundle: Path
):
    shutil.move(own, own.parent / "away")
    own.mkdir()
    shutil.copy(next((own.parent / "away").rglob("*.jpg")), own / "other.jpg")
    with pytest.raises(NotFoundError, match="none of the 24 indexed images"):
        add_images(gallery, own, Bundle.open(bundle), vanished=True)
    assert Manifest.read(gallery).count == 24


def test_a_changed_picture_that_cannot_be_read_stays_as_it_was(
    gallery: Path, own: Path, bundle: Path
):
    before = listed(gallery)
    bad = find_images(own)[0][3]
    bad.write_bytes(b"no picture")
    shutil.copy(find_images(own)[0][4], own / "new.jpg")
    report = add_images(gallery, own, Bundle.open(bundle))
    assert [skipped.path for skipped in report.skipped] == [bad]
    assert (report.added, report.replaced) == (1, 0)
    again = add_images(gallery, own, Bundle.open(bundle))
    assert (again.added, again.replaced, again.unchanged, len(again.skipped)) == (0, 0, 24, 1)
    assert listed(gallery)[bad] == before[bad]


def test_pictures_in_tar_files_are_told_how_to_get_in(tmp_path: Path):
    import tarfile

    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        Image.new("RGB", (20, 20)).save(tmp_path / "a.jpg")
        tar.add(tmp_path / "a.jpg", "a.jpg")
    with pytest.raises(FgembedError, match="--from-embeddings"):
        SourceImages.of(tmp_path / "shard.tar")


def test_a_picture_that_is_listed_twice_is_replaced_and_removed_as_one(
    own: Path, bundle: Path, tmp_path: Path
):
    first, second = find_images(own)[0][:2]
    table, index = tmp_path / "some.csv", tmp_path / "i"
    table.write_text(f"path,year\n{first},2019\n{second},2020\n{first},2021\n")
    build_index(table, Bundle.open(bundle), index)
    Image.open(first).transpose(Image.Transpose.ROTATE_180).save(first)
    report = add_images(index, table, Bundle.open(bundle))
    assert (report.added, report.replaced, report.unchanged) == (0, 2, 1)
    assert [hit.path for hit in Searcher.open(index).search(first, 9)[:2]] == [first, first]
    assert remove_paths(index, [first]).removed == 2
    assert [hit.path for hit in Searcher.open(index).search(first, 9)] == [second]


def test_labels_stay_those_of_each_folder_when_segments_are_merged(
    own: Path, bundle: Path, photos: Path, tmp_path: Path
):
    opened, index = Bundle.open(bundle), tmp_path / "i"
    shutil.copytree(photos / "test", tmp_path / "more")
    build_index(own, opened, index)
    add_images(index, tmp_path / "more", opened)
    compact(index)
    (kind, *_) = sorted(path.name for path in own.iterdir())
    for root in (own, tmp_path / "more"):
        shutil.copy(find_images(root)[0][0], root / kind / "new.jpg")
        add_images(index, root, opened, vanished=True)
    hits = Searcher.open(index).search(own / kind / "new.jpg", 50, where=f"label = '{kind}'")
    assert {hit.path.parent.name for hit in hits} == {kind}
    assert sum(hit.path.name == "new.jpg" for hit in hits) == 2
    assert len(hits) == 8 + 3 + 2
