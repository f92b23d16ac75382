"""How the commands print the state of an index."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fgembed.index.format.manifest import Manifest


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
