"""Names that systems and programs leave are clutter; names that a person may give are not."""

from collections import Counter

import pytest

from fgembed.images.kinds.clutter import file_label, folder_label, path_label
from fgembed.images.kinds.passed_over import PassedOver

FOLDERS = [
    ".ipynb_checkpoints", "@eaDir", "@EADIR", ".Trash-1000", ".Trashes", ".Trash", ".thumbnails",
    "#recycle", "#snapshot", ".snapshot", ".snapshots", "~snapshot", "__MACOSX", "__macosx",
    ".stversions", ".stfolder", "$RECYCLE.BIN", "$Recycle.Bin", "RECYCLER",
    "System Volume Information", "lost+found", "LOST.DIR", "FOUND.000", ".git", ".svn", ".hg",
    "@Recycle", "@Recently-Snapshot", ".@__thumb", "@SynoResource", ".picasaoriginals",
    "Lightroom Previews.lrdata", ".dtrash", ".xvpics", ".dropbox.cache", ".AppleDouble",
    ".Spotlight-V100", ".fseventsd", ".TemporaryItems", "Network Trash Folder", "Backups.backupdb",
    "@GMT-2026.01.01-00.00.00", "_gsdata_", "1.jpg.download", "__pycache__", "node_modules",
    ".gallery.index.tmp-0a1b2c3d-77-0a1b2c3d", "@SynologyDrive", "appdata_oc1x2y3z4a5b",
    "files_trashbin", "Network Recycle Bin 1", "$WINDOWS.~BT", "Catalog.lrcat-data",
    "Generated Images.bundle", "site-packages",
]  # fmt: skip
FILES = [
    "._1.jpg", ".1.jpg", ".goutputstream-X.png", "1.jpg~", "1.JPG~", "#1.jpg#", ".#1.jpg",
    "~$1.jpg", "~syncthing~1.jpg.tmp", ".syncthing.1.jpg.tmp", "1.heic.part", "1.jpg.crdownload",
    "1.png.tmp", "1.cr2.partial", "1.jpg.bak", "SYNOPHOTO_THUMB_XL.jpg", "SYNOFILE_THUMB_M.jpg",
    "AlbumArt_{0F91B2A1}_Large.jpg", "1.jpg_original", "1.jpg.~1~", "1.jpg.sb-5bf08bbb-cz26xN",
]  # fmt: skip
THEIRS = [
    "tmp", "temp", "cache", "thumbnails", "thumbs", "trash", "Trash", "recycled", "backup", "old",
    "runs", "bundle", "embeddings", "gallery.index", "report", "private", "originals", "system",
    "snapshot", "download", "1.jpg", "found", "kiwi", "ünï", "@work", "#1", "$5", "~", "index",
    "animals.download", "profile", "site", "Recycled", "library.bundle",
]  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_a_folder_that_a_system_or_a_program_leaves_is_clutter(name: str):
    assert folder_label(name) is not None


@pytest.mark.parametrize("name", THEIRS)
def test_a_folder_that_a_person_may_have_named_is_read(name: str):
    assert folder_label(name) is None


@pytest.mark.parametrize("name", FILES)
def test_a_copy_or_a_half_file_of_an_image_is_clutter(name: str):
    assert file_label(name) is not None


@pytest.mark.parametrize(
    "name",
    [
        "1.jpg",
        "~1.jpg",
        "#1.jpg",
        "photo",
        "1.jpg_large",
        "1.jpg.1",
        "Copy of 1.jpg",
        "1_original.jpg",
    ],
)
def test_an_image_is_no_clutter(name: str):
    assert file_label(name) is None


@pytest.mark.parametrize("name", ["notes~", ".bashrc", "x.tmp", "list.part", ".DS_Store", "a~.txt"])
def test_clutter_that_is_not_named_like_an_image_is_not_counted(name: str):
    assert file_label(name) is None


@pytest.mark.parametrize(
    ("path", "label"),
    [
        ("./a/1.jpg", None),
        ("../a/1.jpg", None),
        ("__MACOSX/._1.jpg", "__MACOSX"),
        ("a/@eaDir/1.jpg/SYNOPHOTO_THUMB_M.jpg", "@eaDir"),
        ("a/._1.jpg", "._*"),
        ("Photos Library.photoslibrary/resources/derivatives/1.jpg", "*.photoslibrary/resources"),
        ("Photos Library.photoslibrary/originals/0/1.jpg", None),
        ("iPhoto Library/Thumbnails/1.jpg", "iPhoto Library/Thumbnails"),
        ("iPhoto Library/2009/Thumbnails/1.jpg", None),
        ("Thumbnails/1.jpg", None),
    ],
)
def test_the_first_part_of_a_path_that_is_clutter_names_it(path: str, label: str | None):
    assert path_label(path.split("/")) == label


def test_what_was_passed_over_is_one_line_with_the_largest_first():
    counts = Counter({"a": 1, "b": 9, "c\n": 5, "d": 3, "e": 2})
    assert PassedOver(counts).sentence("--x") == (
        r"passed over 20 images that systems and programs left (b, c\n, d, e and 1 more); "
        "--x reads them"
    )
    assert "passed over 1 image " in PassedOver(Counter("a")).sentence()
