"""Text for messages: safe to print, and with the nearest known name."""

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable

# Control characters, line separators, bidirectional marks and overrides, letters without width,
# lone surrogates (which is how Python spells the bytes of a file name that is not UTF-8, and which
# UTF-8 cannot encode).
_UNSHOWABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff"
    "\ufeff\ufffe\uffff]"
)


def showable(text: str) -> str:
    r"""The text on one line; characters that cannot be shown are escaped.

    Example:
        >>> print(showable("two\nlines"))
        two\nlines
    """
    return _UNSHOWABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def drawable(text: str, has_glyph: Callable[[str], bool]) -> str:
    r"""The text for a typeface: letters that it lacks are escaped too, for all boxes look alike.

    Example:
        >>> print(drawable("kiwi \u6771.jpg", str.isascii))
        kiwi \u6771.jpg
    """
    shown = composed(showable(text))
    return "".join(c if has_glyph(c) else c.encode("unicode_escape").decode() for c in shown)


MAX_NAMES = 12  # listed in a message


def nearest(name: str, valid_names: Iterable[str]) -> str:
    """The remedy for an unknown name: the nearest valid name, or the list of valid names.

    Example:
        >>> nearest("losisc", ["lcr", "lodisc", "moco"])
        "did you mean 'lodisc'?"
        >>> nearest("clip", ["lcr", "moco"])
        'choose from lcr, moco'
    """
    names = sorted(valid_names)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    if not names:
        return "leave it out"
    rest = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"choose from {', '.join(names[:MAX_NAMES])}{rest}"


# Invisible everywhere: soft hyphen, zero-width space, word joiner, byte order mark. Not the joiners
# U+200C and U+200D, which change how Persian, Hindi and emoji look.
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")


def label(name: str) -> str:
    """A class name as it is compared and stored: names that look alike are one class.

    Letters are composed, spaces of every width are one kind of space, and what is invisible is
    dropped. Upper and lower case stay different. A name of nothing else stays as it is.

    Example:
        >>> label("Rose\u0301\u00a0") == "Ros\u00e9"
        True
        >>> label("apple") == label("Apple")
        False
    """
    return " ".join(_INVISIBLE.sub("", composed(name)).split()) or composed(name)


def composed(text: str) -> str:
    """The text with composed letters (Unicode NFC): names that look alike become equal.

    Only for comparing and for labels. A path that is opened stays as the disk has it.

    Example:
        >>> composed("Rose\u0301") == "Ros\u00e9"
        True
    """
    return unicodedata.normalize("NFC", text)
