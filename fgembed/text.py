"""Strings from outside, such as file names, made safe to show."""

import difflib
import re
from collections.abc import Iterable

# Control characters, line separators, bidirectional overrides, lone surrogates (which is how
# Python spells the bytes of a file name that is not UTF-8, and which UTF-8 cannot encode).
_UNSHOWABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def showable(text: str) -> str:
    r"""The text on one line, what cannot be shown spelt out: a line feed becomes `\n`."""
    return _UNSHOWABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


MAX_NAMES = 12  # listed in a message


def nearest(name: str, known: Iterable[str]) -> str:
    """The remedy for an unknown name: the nearest known one, or else the known ones.

    Example:
        >>> nearest("losisc", ["lcr", "lodisc", "moco"])
        "did you mean 'lodisc'?"
        >>> nearest("clip", ["lcr", "moco"])
        'known are lcr, moco'
    """
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    if not names:
        return "there are none"
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    return f"known are {', '.join(names[:MAX_NAMES])}{more}"
