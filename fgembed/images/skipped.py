"""Images that are left out: the reason of each, how many are allowed, and their list on disk."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from fgembed.disk.files import write_text
from fgembed.errors import BadImagesError, ImageError
from fgembed.images.kinds.extensions import extension, is_unread_format


@dataclass(frozen=True)
class Skipped:
    """An image or folder that is left out, and why.

    Attributes:
        path: the file, or the tar file and the name in it.
        reason: why, and where something can be done, what.
        is_bad: whether it counts towards the share of bad images. One of a format that is not
            read here does not: it is listed, but says nothing about the state of the others.
    """

    path: Path
    reason: str
    is_bad: bool = True

    @classmethod
    def of(cls, path: Path, error: ImageError) -> Self:
        """An image that could not be decoded."""
        return cls(path, error.reason, is_bad=not is_unread_format(str(path)))

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Self:
        """What `to_json` gave."""
        return cls(Path(entry["path"]), entry["reason"], bool(entry.get("is_bad", True)))

    def to_json(self) -> dict[str, Any]:
        """The entry of `skipped.jsonl`."""
        entry: dict[str, Any] = {"path": str(self.path), "reason": self.reason}
        return entry if self.is_bad else entry | {"is_bad": False}


def check_bad(skipped: Sequence[Skipped], total: int, max_bad: float) -> None:
    """Checks that the share of unreadable images is allowed.

    Args:
        skipped: all that were left out; those of a format that is not read do not count, unless
            nothing else is there.
        total: number of images, those in `skipped` included.
        max_bad: the share that is allowed, in [0, 1].

    Raises:
        BadImagesError: the share is above `max_bad`, or no image is left.
    """
    bad = [image for image in skipped if image.is_bad]
    if skipped and len(skipped) == total:
        raise BadImagesError(
            f"none of {total} images can be read, {_first(bad or skipped)}",
            "give other images, or save them again as JPEG or PNG",
        )
    total -= len(skipped) - len(bad)
    if len(bad) > max_bad * total:
        raise BadImagesError(
            f"{len(bad)} of {total} images cannot be read, allowed are {max_bad:.0%}, "
            f"{_first(bad)}",
            "repair them, or allow more with --max-bad (in a training --set max_bad=SHARE)",
        )


def _first(skipped: Sequence[Skipped]) -> str:
    return f"the first: {str(skipped[0].path)!r} ({skipped[0].reason})"


def unread_formats(skipped: Sequence[Skipped]) -> str:
    """How many files of each extension are of a format that is not read; "" without any.

    Example:
        >>> unread_formats([Skipped(Path(name), "", is_bad=False) for name in ("a.psd", "b.PSD")])
        '2 .psd'
    """
    names = (
        extension(str(image.path)) or "without extension" for image in skipped if not image.is_bad
    )
    return ", ".join(f"{count} {name}" for name, count in Counter(names).most_common())


def write_skipped(file: Path, skipped: Sequence[Skipped]) -> None:
    """Lists the skipped images as JSON lines with path and reason."""
    write_text(file, "".join(json.dumps(image.to_json()) + "\n" for image in skipped))
