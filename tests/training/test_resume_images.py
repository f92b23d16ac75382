"""A run resumes on the images of its checkpoint alone."""

import json
import os
import shutil
from pathlib import Path

import pytest

from fgembed.errors import BadImagesError, FgembedError, IntegrityError
from fgembed.training.resuming.checkpoint import read_position
from tests.training.saved_runs import SavedRun, contents


def test_new_times_and_a_moved_folder_change_nothing(saved: SavedRun, photos: Path):
    assert saved.images != photos / "train"
    for path in saved.images.rglob("*.jpg"):
        os.utime(path, (1, 1))
    ready = saved.prepare({})
    position = read_position(saved.folder)
    assert position is not None
    assert ready.fingerprint == position.fingerprint
    assert len(json.loads(saved.folder.images.read_text())) == 24


def test_another_content_is_refused_even_with_the_same_size_and_time(saved: SavedRun):
    path = sorted(saved.images.rglob("*.jpg"))[5]
    status, content = path.stat(), bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    files = contents(saved.folder.path)
    words = f"the images changed since the checkpoint in {saved.folder.path}: {path} has different "
    with pytest.raises(FgembedError, match=f"{words}content; put the images back as they were, or"):
        saved.prepare({})
    assert contents(saved.folder.path) == files


def test_the_first_changed_image_is_named(saved: SavedRun):
    paths = sorted(saved.images.rglob("*.jpg"))
    new = paths[3].with_name("0000-new.jpg")
    shutil.copy(paths[0], new)
    with pytest.raises(FgembedError, match=f"checkpoint in .*: {new} is new; put the images back"):
        saved.prepare({})
    new.unlink()
    paths[2].write_bytes(b"damaged")
    paths[4].unlink()
    with pytest.raises(FgembedError, match=f"{paths[2]} is missing or cannot be read; put"):
        saved.prepare({})


def test_too_many_bad_images_are_refused_as_in_a_new_run(saved: SavedRun):
    for path in saved.images.rglob("*.jpg"):
        path.write_bytes(b"damaged")
    with pytest.raises(BadImagesError, match="none of 24"):
        saved.prepare({})


@pytest.mark.parametrize("damage", ["missing", "another", "no JSON"])
def test_a_damaged_list_of_images_matters_only_if_they_changed(saved: SavedRun, damage: str):
    sound = saved.folder.images.read_text()
    if damage == "missing":
        saved.folder.images.unlink()
    else:
        saved.folder.images.write_text("{}" if damage == "another" else sound[:-20])
    saved.prepare({})
    assert saved.folder.images.read_text() == sound
    saved.folder.images.write_text("{}" if damage == "another" else sound[:-20])
    next(saved.images.rglob("*.jpg")).unlink()
    with pytest.raises(IntegrityError, match=r"images\.json.* damaged.*; put the images back"):
        saved.prepare({})
