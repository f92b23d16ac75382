"""What a file's extension says: an image that is read, one of a format that is not, an archive."""

from importlib.util import find_spec

from fgembed.images.kinds.formats import (
    ARCHIVES,
    COMPRESSED,
    DECODERS,
    EXTENSIONS,
    FORMAT_BY_EXTENSION,
    NOT_READ_BY_EXTENSION,
)

UNPACK = "archive is not opened; unpack it"
UNPACK_TAR = 'tar file among others is not opened; unpack it, or give it to "fgembed embed" alone'


def extension(name: str) -> str:
    """The extension of a file name or path, lower case, with its dot; "" without one.

    Example:
        >>> extension("a/IMG_1.JPG"), extension("photo"), extension(".jpg")
        ('.jpg', '', '')
    """
    base = name.rpartition("/")[2]
    start = base.rfind(".")
    return base[start:].lower() if start > 0 else ""


def is_archive(name: str) -> bool:
    """Whether the name is that of an archive, or of one compressed image.

    Example:
        >>> is_archive("photos.tar.gz"), is_archive("1.jpg.gz"), is_archive("notes.txt.gz")
        (True, True, False)
    """
    ending = extension(name)
    if ending in COMPRESSED:
        inner = extension(name[: -len(ending)])
        return inner == ".tar" or inner in EXTENSIONS
    return ending in ARCHIVES


def unread_reason(name: str) -> str | None:
    """Why a file of this name is not read although it is evidently a picture, and what to do.

    Example:
        >>> unread_reason("poster.PSD")
        'Photoshop is not read; save it as JPEG or PNG'
        >>> unread_reason("IMG_1.jpg")
    """
    if is_archive(name):
        return UNPACK_TAR if extension(name) == ".tar" else UNPACK
    format_ = NOT_READ_BY_EXTENSION.get(extension(name))
    return None if format_ is None else not_read(format_)


def not_read(format_: str) -> str:
    """The reason for leaving out an image of a format that is never read."""
    return f"{format_} is not read; save it as JPEG or PNG"


def is_unread_format(name: str) -> bool:
    """Whether an image of this name cannot be read here however sound it is.

    Its format is not read at all, or its decoder is not installed.
    """
    module = DECODERS.get(FORMAT_BY_EXTENSION.get(extension(name), ""))
    if module is not None:
        try:
            return find_spec(module) is None
        except (ImportError, ValueError):  # something in this process keeps it from being found
            return True
    return unread_reason(name) is not None
