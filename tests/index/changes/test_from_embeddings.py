"""Existing embeddings are added to an index of the same model."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fgembed.bundle import Bundle
from fgembed.embedding.shards import embed_into
from fgembed.errors import IntegrityError
from fgembed.images.finding import find_images
from fgembed.images.sources import list_images
from fgembed.index import Searcher
from fgembed.index.changes.add import add_images
from fgembed.index.changes.embeddings_folder import ImportedEmbeddings
from fgembed.index.changes.from_embeddings import add_embeddings, build_from_embeddings
from fgembed.index.changes.remove import remove_ids
from fgembed.index.format.manifest import Manifest
from fgembed.index.tools.verify import verify
from tests.index.making import indexed_ids, open_index, unit_vectors, write_embeddings
from tests.sealing import without_checksums


def test_imported_embeddings_give_the_same_hits_as_added_images(
    image_index: Path, bundle: Path, photos: Path, tmp_path: Path
):
    opened = Bundle.open(bundle)
    embed_into(tmp_path / "e", list_images([photos / "test"]), opened, part_size=5)
    report = add_embeddings(image_index, ImportedEmbeddings.open(tmp_path / "e"))
    assert (report.added, report.replaced) == (9, 0)
    query = find_images(photos / "test")[0][3]
    hit = Searcher.open(image_index).search(query, 1)[0]
    assert (hit.path, hit.id) == (query, 24 + 3)
    assert hit.score == pytest.approx(1, abs=1e-5)
    assert verify(image_index, lambda manifest: opened).problems == []


def test_an_image_with_another_vector_is_replaced(
    image_index: Path, image_folder: Path, bundle: Path, tmp_path: Path
):
    opened, before = Bundle.open(bundle), indexed_ids(image_index)
    images = find_images(image_folder)[0][:4]
    for path in images[1:3]:
        Image.open(path).transpose(Image.Transpose.ROTATE_180).save(path)
    (tmp_path / "some.txt").write_text("\n".join(map(str, images)))
    embed_into(tmp_path / "e", list_images([tmp_path / "some.txt"]), opened)
    imported = ImportedEmbeddings.open(tmp_path / "e")
    report = add_embeddings(image_index, imported)
    assert (report.added, report.replaced, report.unchanged) == (0, 2, 2)
    after = indexed_ids(image_index)
    assert [after[path] for path in images[1:3]] == [25, 26]
    assert all(after[path] == before[path] for path in before.keys() - set(images[1:3]))
    again = add_embeddings(image_index, imported)
    assert (again.added, again.replaced, again.unchanged) == (0, 0, 4)
    assert again.manifest == report.manifest


def test_imported_ids_stay_and_later_ids_continue_them(tmp_path: Path):
    index = tmp_path / "i"
    vectors = unit_vectors(30)

    def imported(name: str, ids: list[int], first: int = 0) -> ImportedEmbeddings:
        columns: dict[str, Any] = {"id": ids, "image_path": [f"/photos/{n}.jpg" for n in ids]}
        rows = vectors[first : first + len(ids)]
        return ImportedEmbeddings.open(write_embeddings(tmp_path / name, [rows], columns))

    build_from_embeddings(imported("first", [5, 7, 100]), None, index)
    add_embeddings(index, imported("second", [50, 3]))
    assert sorted(open_index(index).live_ids().tolist()) == [3, 5, 7, 50, 100]
    assert Manifest.read(index).next_id == 101
    add_embeddings(index, imported("third", [900]))
    plain = ImportedEmbeddings.open(write_embeddings(tmp_path / "plain", [vectors[10:12]]))
    add_embeddings(index, plain)
    assert open_index(index).search(vectors[10:12], 1)[1][:, 0].tolist() == [901, 902]
    state = (index / "manifest.json").read_bytes()
    remove_ids(index, np.array([50]))
    for taken in (7, 50):  # 50 is removed, but still in its segment
        with pytest.raises(IntegrityError, match=rf"has 1 of the ids in .*, {taken} for one"):
            add_embeddings(index, imported(f"taken {taken}", [1000, taken], first=20))
    assert (index / "manifest.json").read_bytes() != state
    assert len(Manifest.read(index).segments) == 4


def test_vectors_of_another_or_an_unknown_model_are_refused(
    image_index: Path, bundle: Path, photos: Path, tmp_path: Path
):
    opened = Bundle.open(bundle)
    embed_into(tmp_path / "e", list_images([photos / "test"]), opened)
    without_checksums(tmp_path / "e")
    plan = tmp_path / "e" / "embed.json"
    original = plan.read_text()
    plan.write_text(original.replace(opened.config.fingerprint, "0" * 64))
    with pytest.raises(IntegrityError, match="another model or precision"):
        add_embeddings(image_index, ImportedEmbeddings.open(tmp_path / "e"))
    plan.unlink()
    unknown = ImportedEmbeddings.open(tmp_path / "e")
    with pytest.raises(IntegrityError, match="do not say which model made them"):
        add_embeddings(image_index, unknown)
    plan.write_text(original.replace(opened.config.fingerprint, "0" * 64))
    with pytest.raises(
        IntegrityError, match="another model or precision"
    ):  # whatever bundle is given
        add_embeddings(image_index, ImportedEmbeddings.open(tmp_path / "e"), opened)
    plan.unlink()
    assert Manifest.read(image_index).count == 24
    with pytest.raises(IntegrityError, match="has 9 of the ids"):  # without a record they are ids
        add_embeddings(image_index, unknown, opened)
    shutil.rmtree(tmp_path / "e" / "metadata")
    assert add_embeddings(image_index, ImportedEmbeddings.open(tmp_path / "e"), opened).added == 9
    wide = ImportedEmbeddings.open(write_embeddings(tmp_path / "wide", [unit_vectors(3, 5)]))
    with pytest.raises(IntegrityError, match=r"dimensions, the embeddings in .* have 5"):
        add_embeddings(image_index, wide, opened)


def test_labels_of_later_images_do_not_come_from_folders_of_embeddings(
    image_index: Path, image_folder: Path, bundle: Path, tmp_path: Path
):
    """Neither from the common folder of the embedded images nor from a folder above all."""
    kinds = sorted(path.name for path in image_folder.iterdir())
    paths = [str(image_folder / kinds[0] / f"{n}.jpg") for n in range(3)]
    for number, names in enumerate([paths, ["/elsewhere/a.jpg", "/other/b.jpg", "/other/c.jpg"]]):
        columns: dict[str, Any] = {"image_path": names}
        dimensions = Manifest.read(image_index).dimensions
        rows = unit_vectors(3, dimensions, seed=number)
        folder = write_embeddings(tmp_path / f"{number}", [rows], columns)
        add_embeddings(image_index, ImportedEmbeddings.open(folder), Bundle.open(bundle))
    assert Manifest.read(image_index).roots == [str(image_folder)]
    first = find_images(image_folder / kinds[0])[0][0]
    shutil.copy(first, image_folder / kinds[0] / "new.jpg")
    assert add_images(image_index, image_folder / kinds[0], Bundle.open(bundle)).added == 1
    hit = Searcher.open(image_index).search(first, 2, where=f"label = '{kinds[0]}'")[1]
    assert hit.path == image_folder / kinds[0] / "new.jpg"
