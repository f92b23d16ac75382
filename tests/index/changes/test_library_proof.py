"""A library in a tree with all of the clutter, moved, partly out of reach, put back: the same ids.

`make proof` does it with 10,000 photographs.
"""

import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fgembed.bundle import Bundle
from fgembed.index.changes.add import add_images
from fgembed.index.changes.build import build_index
from fgembed.index.changes.plan import Sync
from fgembed.index.changes.transaction import ChangeReport
from fgembed.index.tools.verify import verify
from tests.index.making import indexed_ids

COUNT = int(os.environ.get("FGEMBED_LIBRARY", "300"))
FOLDERS = ("2019/sea", "2019/hills", "2020/sea", "2021", "nas/2022/winter", "nas/2022/summer")
# What systems and programs leave among photographs; none of it counts as one.
CLUTTER = ("@eaDir", ".thumbnails", "#recycle", "__MACOSX", ".Trash-1000/files", ".stversions")
FILES = ("._{}", ".DS_Store", "Thumbs.db", "desktop.ini", "{}.tmp")
pytestmark = pytest.mark.proof


def draw_library(folder: Path, count: int) -> None:
    draw = np.random.default_rng(0)
    for number in range(count):
        place = folder / FOLDERS[number % len(FOLDERS)]
        place.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(draw.integers(0, 255, (4, 5, 3), np.uint8))
        encoded = io.BytesIO()
        small.resize((40, 32), Image.Resampling.BICUBIC).save(encoded, "JPEG")
        (place / f"{number:05}.jpg").write_bytes(encoded.getvalue())
    for below in FOLDERS:
        photograph = min((folder / below).iterdir())
        for name in CLUTTER:
            (folder / below / name).mkdir(parents=True)
            shutil.copy(photograph, folder / below / name / photograph.name)
        for name in FILES:
            (folder / below / name.format(photograph.name)).write_bytes(b"clutter")


def is_clutter(path: Path) -> bool:
    text = path.as_posix()
    return any(f"/{name}/" in text for name in CLUTTER) or path.name.startswith("._")


@pytest.fixture
def library(tmp_path: Path) -> Path:
    draw_library(tmp_path / "library", COUNT)
    return tmp_path / "library"


class FollowedLibrary:
    """The index of a library; its ids are given by path below the library."""

    def __init__(self, index: Path, bundle: Bundle) -> None:
        self.index = index
        self.bundle = bundle

    def sync(self, library: Path) -> tuple[ChangeReport, dict[str, int]]:
        """Brings the index up to date, twice; the second time nothing is left to do."""
        report = add_images(self.index, library, self.bundle, sync=Sync(), max_bad=1.0)
        again = add_images(self.index, library, self.bundle, sync=Sync(), max_bad=1.0)
        assert again.manifest == report.manifest
        return report, self.ids(library)

    def ids(self, library: Path) -> dict[str, int]:
        ids = {path: id_ for path, id_ in indexed_ids(self.index).items() if not is_clutter(path)}
        return {path.relative_to(library).as_posix(): id_ for path, id_ in ids.items()}


def taken_away(library: Path, select: Callable[[str], bool], spare: Path) -> Callable[[], None]:
    """Moves files out of the library, as if a disk were away; gives what puts them back."""
    names = [
        path.relative_to(library) for path in sorted(library.rglob("*.jpg"))
        if not is_clutter(path) and select(path.relative_to(library).as_posix())
    ]  # fmt: skip
    for name in names:
        (spare / name).parent.mkdir(parents=True, exist_ok=True)
        (library / name).rename(spare / name)

    def put_back() -> None:
        for name in names:
            (library / name).parent.mkdir(parents=True, exist_ok=True)
            (spare / name).rename(library / name)

    return put_back


def test_a_library_keeps_its_ids_through_moves_and_losses(
    library: Path, bundle: Path, tmp_path: Path
):
    followed = FollowedLibrary(tmp_path / "i", Bundle.open(bundle))
    build_index(library, followed.bundle, followed.index, max_bad=1.0)
    ids = followed.ids(library)
    assert len(ids) == COUNT
    assert followed.sync(library)[1] == ids

    library = library.rename(tmp_path / "elsewhere")
    report, now = followed.sync(library)
    assert (now, report.moved >= COUNT, report.added, report.removed) == (ids, True, 0, 0)

    (library / "2019").rename(library / "2018")
    ids = {name.replace("2019/", "2018/"): id_ for name, id_ in ids.items()}
    report, now = followed.sync(library)
    assert (now, report.added, report.removed) == (ids, 0, 0)

    away = (library / "nas").rename(tmp_path / "nas")  # unmounted; the empty folder stays
    (library / "nas").mkdir()
    report, now = followed.sync(library)
    assert (now, report.removed, len(report.kept)) == (ids, 0, 1)
    (library / "2021").rename(tmp_path / "2021")  # and another one, whose folder is missing
    report, now = followed.sync(library)
    assert (now, report.removed, len(report.kept)) == (ids, 0, 2)
    library = library.rename(tmp_path / "again")  # and moved meanwhile
    report = add_images(followed.index, library, followed.bundle, sync=Sync(), max_bad=1.0)
    (library / "nas").rmdir()
    away.rename(library / "nas")
    (tmp_path / "2021").rename(library / "2021")
    report, now = followed.sync(library)
    assert (now, report.added, report.removed) == (ids, 0, 0)

    put_back = taken_away(library, lambda name: ids[name] % 5 < 2, tmp_path / "loading")
    report, now = followed.sync(library)  # a synced folder that is still loading
    assert (now, report.removed) == (ids, 0)
    put_back()
    for path in library.rglob("*.jpg"):  # and whose times are new
        os.utime(path)
    assert followed.sync(library)[1] == ids

    removed = sorted(name for name in ids if name.startswith("2020/"))[:3]
    for name in removed:
        (library / name).unlink()
    report, now = followed.sync(library)
    assert (report.removed, now) == (3, {n: id_ for n, id_ in ids.items() if n not in removed})
    assert verify(followed.index, checksums=True).changed == []
