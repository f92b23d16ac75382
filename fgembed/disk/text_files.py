"""Text that people write: in UTF-8 or with a mark at its start, any line ends, `~` in its paths."""

import codecs
import os
from pathlib import Path

# The longer marks first: that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decoded(content: bytes, errors: str = "strict") -> str:
    r"""The text of these bytes, without a byte-order mark.

    UTF-8 unless a mark says UTF-16 or UTF-32, as some editors and PowerShell write; UTF-16 without
    a mark is known by the zero byte in its first letter.

    Args:
        content: the bytes of a whole file.
        errors: what Python does with bytes that are not text, as for `bytes.decode`.

    Raises:
        UnicodeDecodeError: they are no such text.

    Example:
        >>> decoded(b"\xef\xbb\xbfphotos"), decoded("photos".encode("utf-16"))
        ('photos', 'photos')
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding, errors)
    if len(content) > 1 and (content[0] == 0) != (content[1] == 0):
        return content.decode("utf-16-be" if content[0] == 0 else "utf-16-le", errors)
    return content.decode("utf-8", errors)


def read_text(path: Path, errors: str = "strict") -> str:
    r"""The decoded text of a file, with `\n` at the end of each line.

    Raises:
        UnicodeDecodeError: see `decoded`.
    """
    return "\n".join(lines_of(decoded(path.read_bytes(), errors)))


def lines_of(text: str) -> list[str]:
    r"""The lines of a text whose lines end in `\n`, `\r\n`, or all in `\r`.

    Example:
        >>> lines_of("a\r\nb"), lines_of("a\rb"), lines_of("Icon\r.png\nb")
        (['a', 'b'], ['a', 'b'], ['Icon\r.png', 'b'])
    """
    if "\n" not in text:
        return text.split("\r")
    return [line.removesuffix("\r") for line in text.split("\n")]


def at_home(path: str) -> str:
    """The path with a leading `~` or `~user` replaced by that home folder, as shells do.

    A file or folder that is really named so comes first; an unknown user leaves the path as it is.

    Example:
        >>> at_home("photos/~")
        'photos/~'
        >>> at_home("~/photos") == os.path.expanduser("~/photos")
        True
    """
    if not path.startswith("~") or os.path.lexists(path):
        return path
    return os.path.expanduser(path)  # noqa: PTH111 - that of Path raises where it knows no home
