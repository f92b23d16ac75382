"""Options of the commands that make or change an index."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fgembed.errors import ConfigError

if TYPE_CHECKING:
    from fgembed.index.format.manifest import Manifest
    from fgembed.index.segments.segment_builder import IndexSettings

KIND_HELP = (
    "flat compares every vector; ivf, ivfpq, hnsw and rabitq are FAISS's; any other text is a "
    "FAISS factory string; auto chooses by number and memory."
)
IndexOption = Annotated[Path, typer.Option("--index", help="The index folder.")]
KindOption = Annotated[str, typer.Option(metavar="KIND", help=KIND_HELP)]
RecallOption = Annotated[
    float, typer.Option(min=0.01, max=1, help="recall@10 that searches are tuned to.")
]
MemoryOption = Annotated[
    str, typer.Option(metavar="SIZE", help="What building and searching may take, such as 2GB.")
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        metavar="FORMAT",
        help="float32 or float16; float16 where float32 would take half of the memory.",
    ),
]
MEMORY = "2GB"
LEAST_MEMORY = 16_000_000  # a chunk of vectors
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def bytes_of(text: str) -> int:
    """A size such as 2GB or 512M in bytes.

    Raises:
        ConfigError: it is none.
    """
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,15})?)\s*([kmgt]?)(i?)b?", text.strip().lower())
    if found is None or (found[3] and not found[2]):
        raise ConfigError(f"--memory {text!r} is no size", "expected a number with a unit, as 2GB")
    unit = 2 ** (10 * "kmgt".index(found[2]) + 10) if found[3] else UNITS[found[2]]
    size = int(float(found[1]) * unit)
    if size < LEAST_MEMORY:
        raise ConfigError(f"--memory {text!r} is too little", "expected 16MB at least, as 2GB")
    return size


def index_settings(kind: str, recall: float, memory: str, store: str | None) -> "IndexSettings":
    """What was asked for.

    Raises:
        ConfigError: a value is none of those that there are.
    """
    from fgembed.index.segments.kinds import check_name
    from fgembed.index.segments.segment_builder import IndexSettings

    check_name(kind)
    check_recall(recall)
    if store not in (None, "float32", "float16"):
        raise ConfigError(f"--store {store!r} is neither float32 nor float16")
    return IndexSettings(kind, store, recall, bytes_of(memory))


def check_recall(recall: float | None) -> None:
    """Whether a recall can be tuned to.

    Raises:
        ConfigError: it is no number.
    """
    if recall is not None and not recall <= 1:
        raise ConfigError(f"--recall {recall} is no number up to 1")


def facts(manifest: "Manifest") -> dict[str, Any]:
    """What a command says of an index, as JSON."""
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
    """What a command says of an index, as a line."""
    main = manifest.main
    if not manifest.segments:
        return "no pictures"
    searched = "".join(f", {name} {value}" for name, value in main.parameters.items())
    measured = (
        f"recall@10 {main.measured.recall_at_10:.3f} of exact search on "
        f"{main.measured.queries} queries that were held out"
        if main.measured.queries
        else "exact search"
    )
    if not main.factory and manifest.kind not in ("auto", "flat"):
        measured += f" of too few for {manifest.kind}"
    return (
        f"{manifest.count} pictures, {manifest.dimensions} dimensions, "
        f"{main.factory or 'flat'}{searched}, {measured}, "
        f"{main.measured.query_ms:.2f} ms a query, {main.bytes_a_vector:.0f} bytes a vector"
    )
