"""Clutter: what systems, disks, programs and fgembed itself leave among photographs.

A name counts as clutter only where it cannot be that of a person's own folder: hidden names (a
leading dot) and those that one program gives. Folders called `tmp`, `cache` or `thumbnails` may be
classes, and are read.
"""

import re
from collections.abc import Iterable

from fgembed.images.kinds.extensions import extension
from fgembed.images.kinds.formats import EXTENSIONS
from fgembed.text import composed

FOLDERS = frozenset(
    {
        "$recycle.bin", "recycler", "system volume information", "lost.dir",  # Windows
        "$windows.~bt", "$windows.~ws",
        "__macosx", "network trash folder", "temporary items", "backups.backupdb",  # macOS
        "thevolumesettingsfolder", "thefindbycontentfolder", "ipod photo cache",
        "lost+found",  # Linux
        "@eadir", "#recycle", "#snapshot", "@tmp", "@sharesnap", "@sharebin",  # Synology
        "@recycle", "@recently-snapshot", "@transcode", "@__thumb",  # QNAP
        "~snapshot",  # NetApp
        "files_trashbin", "files_versions",  # Nextcloud's and ownCloud's data folder
        "generated images.bundle",  # Mylio
        "_gsdata_",  # GoodSync
        "thmbnl",  # stills of a camera's videos
        "__pycache__", "node_modules", "site-packages",
    }
)  # fmt: skip
FOLDER_PATTERNS = {
    r"found\.\d{3}": "FOUND.*",  # Windows' disk check
    r"network recycle bin( \d+)?": "Network Recycle Bin",  # QNAP
    r"@syno.*": "@syno*",  # Synology Drive and other packages
    r"appdata_oc[0-9a-z]{10}": "appdata_oc*",  # Nextcloud's previews
    r"@gmt-\d{4}\..*": "@GMT-*",  # shadow copies
    r".*\.lrdata": "*.lrdata",  # Lightroom's previews
    r".*\.lrcat-data": "*.lrcat-data",
    r".*\.[0-9a-z]{2,5}\.download": "*.download",  # Safari; a folder for each file
}
PHOTO_LIBRARIES = (
    ".photoslibrary", ".photolibrary", ".aplibrary", ".migratedphotolibrary", ".migratedaplibrary",
)  # fmt: skip
ORIGINALS = frozenset({"originals", "masters"})  # of a photo library; the rest is derived
DERIVED = frozenset({  # what certain programs derive, in folders with common names
    ("iphoto library", "thumbnails"), ("iphoto library", "previews"), ("iphoto library", "data"),
    ("iphoto library", "data.noindex"),
})  # fmt: skip
# Folders with common names, and the file that a program has put into them.
MARKED = {"thumbs": ".immich", "profile": ".immich", "recycled": "INFO2"}
FILE_PREFIXES = {
    "synophoto_": "SYNOPHOTO_*",
    "synofile_thumb_": "SYNOFILE_THUMB_*",
    "albumart_{": "AlbumArt_*",  # Windows Media Player
    "~$": "~$*",
}
# Around the name of an image: copies and incomplete files of editors, downloads and sync tools.
AFFIXES = (
    ("", "~"), ("#", "#"), ("~syncthing~", ".tmp"), ("", ".tmp"), ("", ".temp"),
    ("", ".part"), ("", ".partial"), ("", ".crdownload"), ("", ".opdownload"), ("", ".download"),
    ("", ".filepart"), ("", ".aria2"), ("", ".!ut"), ("", ".!qb"), ("", ".!bt"), ("", ".bc!"),
    ("", ".swp"), ("", ".bak"), ("", ".old"), ("", ".orig"), ("", ".svn-base"),
    ("", "_original"), ("", "_exiftool_tmp"),
)  # fmt: skip
# Numbered copies (`1.jpg.~1~`), and those that macOS saves to before it replaces a file.
_NUMBERED = re.compile(r"(.+)(\.~|\.sb-)(\d+~|[0-9a-f]{8}-\w{6})", re.DOTALL)
REPORT_FILES = frozenset({"recall_curves.png", "maps.png", "method.png"})
REPORT_MARKS = frozenset({"report.md", "report.json", "recall_curves.png"})
_FOLDER_PATTERNS = [(re.compile(p, re.DOTALL), label) for p, label in FOLDER_PATTERNS.items()]
_PREFIXES = tuple(FILE_PREFIXES)


def folder_label(name: str, parent: str = "") -> str | None:
    """What a folder is called in messages if it is clutter, else None.

    Args:
        name: of the folder.
        parent: name of the folder that it lies in.

    Example:
        >>> folder_label("@eaDir"), folder_label(".Trash-1000"), folder_label("thumbnails")
        ('@eaDir', '.Trash-1000', None)
    """
    if name.startswith("."):
        return name
    key = composed(name).casefold()
    if key in FOLDERS:
        return name
    if parent.lower().endswith(PHOTO_LIBRARIES) and key not in ORIGINALS:
        return f"*{extension(parent)}/{name}"
    if (parent.lower(), key) in DERIVED:
        return f"{parent}/{name}"
    return next((label for pattern, label in _FOLDER_PATTERNS if pattern.fullmatch(key)), None)


def marker(name: str) -> str | None:
    """The file that makes a folder of this name clutter, where its name alone does not.

    Example:
        >>> marker("thumbs"), marker("photos")
        ('.immich', None)
    """
    return MARKED.get(name.lower())


def file_label(name: str) -> str | None:
    """What a file is called in messages if it is clutter and named like an image, else None.

    Example:
        >>> file_label("._1.jpg"), file_label("1.jpg~"), file_label("1.jpg"), file_label("notes~")
        ('._*', '*~', None, None)
    """
    key = name.lower()
    if key.startswith("."):
        is_image = extension(key[1:]) in EXTENSIONS or wrapped(key[1:]) is not None
        return ("._*" if key.startswith("._") else ".*") if is_image else None
    if extension(key) in EXTENSIONS:
        if not key.startswith(_PREFIXES):
            return None
        return next(label for start, label in FILE_PREFIXES.items() if key.startswith(start))
    return wrapped(key)


def wrapped(key: str) -> str | None:
    """The pattern of a copy or an incomplete file of an image, from its lower-case name."""
    numbered = _NUMBERED.fullmatch(key)
    if numbered is not None and extension(numbered[1]) in EXTENSIONS:
        return f"*{numbered[2]}*"
    for before, after in AFFIXES:
        if key.startswith(before) and key.endswith(after):
            if extension(key[len(before) : len(key) - len(after)]) in EXTENSIONS:
                return f"{before}*{after}"
    return None


def path_label(parts: Iterable[str]) -> str | None:
    """What the first folder of a path that is clutter, or else its file, is called in messages."""
    *folders, name = [part for part in parts if part not in (".", "..")] or [""]
    for parent, folder in zip(["", *folders], folders, strict=False):
        label = folder_label(folder, parent)
        if label is not None:
            return label
    return file_label(name)


def report_images(names: set[str]) -> frozenset[str]:
    """The files of an evaluation's report, if the folder with these names holds one."""
    return REPORT_FILES if names >= REPORT_MARKS else frozenset()
