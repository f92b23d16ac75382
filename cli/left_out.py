"""How the commands tell which images were left out: skipped ones, and clutter."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fgembed.images.kinds.passed_over import PassedOver
    from fgembed.images.skipped import Skipped


def print_left_out(
    skipped: "Sequence[Skipped]",
    passed_over: "PassedOver",
    file: Path | None = None,
    *,
    remedy: str | None = None,
) -> None:
    """Prints how many images were skipped, the first of them and why, and what was passed over.

    Args:
        skipped: the images; one that is damaged is named before those of formats not read.
        passed_over: clutter.
        file: the list of all that were skipped.
        remedy: what reads the clutter, where no option does.
    """
    from fgembed.cli.process.short_paths import short_path
    from fgembed.images.kinds.passed_over import OPTION
    from fgembed.images.skipped import unread_formats
    from fgembed.text import showable

    if skipped:
        listed = f", listed in {showable(str(file))}" if file else ""
        print(f"{len(skipped)} skipped{listed}; the first:")
        first = min(skipped, key=lambda image: not image.is_bad)
        print(showable(f"  {short_path(first.path)}: {first.reason}"))
        formats = unread_formats(skipped)
        if formats:
            print(showable(f"  of formats that are not read: {formats}"))
    if passed_over.images:
        print(passed_over.sentence(remedy or OPTION))


def left_out_counts(skipped: "Sequence[Skipped]", passed_over: "PassedOver") -> dict[str, Any]:
    """The same as numbers, for JSON."""
    return {"skipped": len(skipped), "passed_over": passed_over.images}
