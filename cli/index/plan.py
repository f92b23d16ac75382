"""How `fgembed index add --dry-run` prints what would be done."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from fgembed.cli.index.summary import kept_folders, print_kept, print_repeated
from fgembed.cli.left_out import left_out_counts, print_left_out

if TYPE_CHECKING:
    from fgembed.index.changes.plan import AddPlan

SHOWN = 5  # names of each kind


def print_plan(plan: "AddPlan", index: Path, as_json: bool) -> None:
    """Prints the images that would be added, replaced, moved and removed."""
    from fgembed.text import showable

    paths, comparison = plan.images.paths, plan.comparison
    names: dict[str, list[str]] = {
        "added": [str(paths[row]) for row in comparison.new],
        "replaced": [str(paths[row]) for row in comparison.changed],
        "moved": [f"{move.image.path} -> {move.path}" for move in comparison.moves],
        "removed": [*plan.removed, *plan.superseded],
    }
    if as_json:
        moves = [{"from": move.image.path, "to": str(move.path)} for move in comparison.moves]
        print(
            json.dumps(
                {"index": str(index), "dry_run": True}
                | names
                | {"moved": moves, "unchanged": len(comparison.unchanged)}
                | left_out_counts(plan.images.listing.skipped, plan.images.listing.passed_over)
                | {"kept": kept_folders(plan.kept), "repeated": len(plan.repeated)}
            )
        )
        return
    for kind, listed in names.items():
        if listed:
            unread = ", if they can be read" if kind in ("added", "replaced") else ""
            print(f"would be {kind}{unread}: {len(listed)}")
        for name in listed[:SHOWN]:
            print(showable(f"  {name}"))
        if len(listed) > SHOWN:
            print(f"  and {len(listed) - SHOWN} more")
    if not any(names.values()):
        print("nothing would be changed")
    print(f"unchanged: {len(comparison.unchanged)}")
    print_kept(plan.kept)
    print_repeated(plan.repeated)
    print_left_out(plan.images.listing.skipped, plan.images.listing.passed_over)
