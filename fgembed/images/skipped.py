"""Images that are left out: the reason of each, how many are allowed, and their list on disk."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fgembed.disk.files import write_text
from fgembed.errors import BadImagesError


@dataclass(frozen=True)
class Skipped:
    """An image or folder that is left out, and why."""

    path: Path
    reason: str


def check_bad(skipped: Sequence[Skipped], total: int, max_bad: float) -> None:
    """Checks that the share of unreadable images is allowed.

    Raises:
        BadImagesError: the share is above `max_bad`, or no image is left.
    """
    if not skipped or len(skipped) <= min(max_bad * total, total - 1):
        return
    first = f"the first: {str(skipped[0].path)!r} ({skipped[0].reason})"
    if len(skipped) == total:
        raise BadImagesError(
            f"none of {total} images can be read, {first}",
            "give other images, or save them again as JPEG or PNG",
        )
    raise BadImagesError(
        f"{len(skipped)} of {total} images cannot be read, allowed are {max_bad:.0%}, {first}",
        "repair them, or allow more with --max-bad (in a training --set max_bad=SHARE)",
    )


def write_skipped(file: Path, skipped: Sequence[Skipped]) -> None:
    """Lists the skipped images as JSON lines with path and reason."""
    lines = [json.dumps({"path": str(bad.path), "reason": bad.reason}) for bad in skipped]
    write_text(file, "".join(line + "\n" for line in lines))
