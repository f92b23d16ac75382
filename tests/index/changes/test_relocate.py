"""`relocate`: one command says where images are now."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fgembed.bundle import Bundle
from fgembed.errors import FgembedError, NotFoundError
from fgembed.images.finding import find_images
from fgembed.index.changes.add import add_images
from fgembed.index.changes.build import build_index
from fgembed.index.changes.compact import compact
from fgembed.index.changes.relocate import plan_relocation, relocate
from fgembed.index.format.manifest import Manifest
from fgembed.index.search.snapshot import open_vectors
from fgembed.index.tools.verify import verify
from tests.index.making import indexed_ids


@pytest.mark.parametrize("deep", [True, False])
def test_a_library_or_one_of_its_folders_gets_its_new_path(
    image_index: Path, image_folder: Path, bundle: Path, deep: bool
):
    before = indexed_ids(image_index)
    old = sorted(image_folder.iterdir())[0] if deep else image_folder
    new = image_folder.parent / "other" / "place"
    new.parent.mkdir()
    old.rename(new)
    state = (image_index / "manifest.json").read_bytes()
    plan = plan_relocation(open_vectors(image_index), old, new, checksums=True)
    assert (image_index / "manifest.json").read_bytes() == state
    count = 8 if deep else 24
    assert (len(plan.paths), plan.found, plan.compared) == (count, count, count)
    relocate(image_index, old, new)
    expected = {
        (new / path.relative_to(old) if path.is_relative_to(old) else path): id_
        for path, id_ in before.items()
    }
    assert indexed_ids(image_index) == expected
    assert verify(image_index).problems == []
    compact(image_index)
    assert indexed_ids(image_index) == expected
    report = add_images(image_index, new, Bundle.open(bundle))
    assert (report.unchanged, report.added) == (count, 0)
    if not deep:
        assert Manifest.read(image_index).roots == [str(new)]


def test_a_place_without_the_images_is_refused(
    image_index: Path, image_folder: Path, photos: Path, tmp_path: Path
):
    state = (image_index / "manifest.json").read_bytes()
    with pytest.raises(NotFoundError, match=r"none of the 24 images below .*; give the folder"):
        relocate(image_index, image_folder, tmp_path / "nowhere")
    with pytest.raises(NotFoundError, match=r"holds no image at or below .*; give a folder"):
        relocate(image_index, tmp_path / "nowhere", image_folder)
    others = tmp_path / "others"
    shutil.copytree(image_folder, others)
    for path, other in zip(
        find_images(others)[0], reversed(find_images(image_folder)[0]), strict=True
    ):
        shutil.copy(other, path)
    with pytest.raises(FgembedError, match=r"24 of 24 files compared .* are other images than"):
        relocate(image_index, image_folder, others)
    assert (image_index / "manifest.json").read_bytes() == state


def test_images_that_an_earlier_release_indexed_at_both_places_become_one(
    image_index: Path, image_folder: Path, bundle: Path, tmp_path: Path
):
    before, model = indexed_ids(image_index), Bundle.open(bundle)
    new = image_folder.rename(tmp_path / "new")
    build_index(new, model, tmp_path / "other")
    (addition,) = Manifest.read(tmp_path / "other").segments
    shutil.copytree(tmp_path / "other" / addition.name, image_index / "seg-000009")
    _append(image_index, replace(addition, name="seg-000009", files={
        f"seg-000009/{Path(name).name}": sum_ for name, sum_ in addition.files.items()
    }))  # fmt: skip
    assert len(indexed_ids(image_index)) == 48
    _, plan = relocate(image_index, image_folder, new)
    assert len(plan.twice) == 24
    assert indexed_ids(image_index) == {
        new / path.relative_to(image_folder): id_ for path, id_ in before.items()
    }
    assert verify(image_index).problems == []


def _append(folder: Path, segment) -> None:
    """Adds a segment with ids that follow those of the index."""
    import sqlite3
    from contextlib import closing

    import numpy as np

    from fgembed.disk.files import sha256

    files = folder / segment.name
    ids = np.load(files / "ids.npy") + 100
    np.save(files / "ids.npy", ids)
    with closing(sqlite3.connect(files / "items.sqlite")) as table, table:
        table.execute("UPDATE items SET id = id + 100")
    sums = {name: sha256(folder / name) for name in segment.files}
    manifest = Manifest.read(folder)
    manifest = replace(
        manifest, segments=[*manifest.segments, replace(segment, files=sums)],
        count=manifest.count + segment.count, next_id=124,
    )  # fmt: skip
    manifest.write(folder)
