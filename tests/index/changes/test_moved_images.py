"""Images that were moved, renamed or exchanged are known by their content; entries follow files."""

import shutil
import unicodedata
from pathlib import Path

import pytest

from fgembed.bundle import Bundle
from fgembed.images.finding import find_images
from fgembed.index import Searcher
from fgembed.index.changes.add import add_images
from fgembed.index.changes.build import build_index
from fgembed.index.changes.compact import compact
from fgembed.index.changes.plan import Sync
from fgembed.index.changes.remove import remove_paths, remove_where
from fgembed.index.format.manifest import Manifest
from fgembed.index.tools.verify import verify
from tests.index.making import indexed_ids


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
