"""How the commands print the state of an index, and what a change did to it."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgembed.cli.left_out import left_out_counts, print_left_out

if TYPE_CHECKING:
    from fgembed.index.changes.transaction import ChangeReport
    from fgembed.index.format.manifest import Manifest
    from fgembed.index.library.distinct_images import Repeated
    from fgembed.index.library.lost_folders import LostFolder

COMPACT_FROM_SEGMENTS = 8


def facts(manifest: "Manifest") -> dict[str, Any]:
    """The state of an index as commands print it, as JSON."""
    main = manifest.main
    return {
        "count": manifest.count,
        "dimensions": manifest.dimensions,
        "kind": manifest.kind,
        "factory": main.factory or "exact",
        "parameters": main.parameters,
        "recall@10": main.measured.recall_at_10,
        "query_ms": round(main.measured.query_ms, 4),
        "bytes_a_vector": main.bytes_a_vector,
        "store": manifest.store,
        "segments": len(manifest.segments),
        "removed": manifest.removed.count if manifest.removed else 0,
    }


def described(manifest: "Manifest") -> str:
    """The state of an index as commands print it, in one line."""
    main = manifest.main
    if not manifest.segments:
        return "no images"
    searched = "".join(f", {name} {value}" for name, value in main.parameters.items())
    measured = (
        f"recall@10 {main.measured.recall_at_10:.3f} of exact search on "
        f"{main.measured.queries} held-out queries"
        if main.measured.queries
        else "exact search"
    )
    if not main.factory and manifest.kind not in ("auto", "flat"):
        measured += f" (too few vectors for {manifest.kind})"
    return (
        f"{manifest.count} images, {manifest.dimensions} dimensions, "
        f"{main.factory or 'flat'}{searched}, {measured}, "
        f"{main.measured.query_ms:.2f} ms a query, {main.bytes_a_vector:.0f} bytes a vector"
    )


def print_report(
    report: "ChangeReport", index: Path, as_json: bool, compacted: bool = False
) -> None:
    """Prints what a change did to an index."""
    from fgembed.index.format.manifest import SKIPPED_FILE
    from fgembed.text import showable

    manifest = report.manifest
    numbers = {
        "added": report.added,
        "replaced": report.replaced,
        "moved": report.moved,
        "removed": report.removed,
        "unchanged": report.unchanged,
        "skipped": len(report.skipped),
        "repeated": len(report.repeated),
    }
    if as_json:
        state = {"kept": kept_folders(report.kept), "state": facts(manifest)}
        numbers |= left_out_counts(report.skipped, report.passed_over)
        print(json.dumps({"index": str(index)} | numbers | state))
        return
    if compacted:
        dropped = f", {report.removed} removed images dropped" if report.removed else ""
        print(f"merged into one segment{dropped}")
    else:
        print(", ".join(f"{n} {name}" for name, n in numbers.items() if n) or "no change")
    print_kept(report.kept)
    print_repeated(report.repeated)
    print(f"{showable(str(index))}: {described(manifest)}")
    print_left_out(report.skipped, report.passed_over, index / SKIPPED_FILE)
    dead = manifest.removed.count if manifest.removed else 0
    if len(manifest.segments) > COMPACT_FROM_SEGMENTS or dead > manifest.count:
        print(
            f"segments: {len(manifest.segments)}, removed images in them: {dead}; "
            '"fgembed index compact" makes it smaller and faster'
        )


def kept_folders(kept: "Sequence[LostFolder]") -> list[dict[str, Any]]:
    """The folders whose missing images stay in an index, as JSON."""
    return [
        {"folder": lost.folder, "missing": len(lost.names), "indexed": lost.indexed,
         "reason": lost.reason}
        for lost in kept
    ]  # fmt: skip


def print_kept(kept: "Sequence[LostFolder]") -> None:
    """Names the folders whose missing images stay in an index, and how to remove them."""
    from fgembed.text import showable

    for lost in kept:
        count, folder = len(lost.names), showable(lost.folder)
        print(
            f"{count} of {lost.indexed} images in {folder} are missing and stay: it {_seen(lost)}"
        )
    if any("cannot be read" not in lost.reason for lost in kept):
        print("mount or restore it, or confirm with --gone DIR that the images are gone")


def _seen(lost: "LostFolder") -> str:
    return f"is {lost.reason}" if lost.reason in ("missing", "empty") else lost.reason


def print_repeated(repeated: "Sequence[Repeated]") -> None:
    """Says which paths name a file that is listed before."""
    from fgembed.text import showable

    others = sum(again.other_metadata for again in repeated)
    besides = f"; the metadata of {others} differed and was left out" if others else ""
    for again in repeated[:1]:
        print(f"{len(repeated)} repeated: they name a file listed before{besides}; the first:")
        print(showable(f"  {again.path} is {again.first}"))
