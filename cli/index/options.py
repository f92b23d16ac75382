"""Options of the commands that make or change an index."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fgembed.errors import ConfigError

if TYPE_CHECKING:
    from fgembed.index.segments.segment_builder import IndexSettings

KIND_HELP = (
    "flat compares every vector; ivf, ivfpq, hnsw and rabitq are FAISS's; any other text is a "
    "FAISS factory string; auto chooses by count and memory."
)
IndexOption = Annotated[Path, typer.Option("--index", help="The index folder.")]
KindOption = Annotated[str, typer.Option(metavar="KIND", help=KIND_HELP)]
RecallOption = Annotated[
    float, typer.Option(min=0.01, max=1, help="recall@10 to tune searches to.")
]
MemoryOption = Annotated[
    str,
    typer.Option(metavar="SIZE", help="Memory for building and searching, such as 2GB."),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        metavar="FORMAT",
        help="float32 or float16; by default float16 if float32 would use over half of the memory.",
    ),
]
BundleElsewhere = Annotated[
    Path | None, typer.Option("--bundle", help="The exported model, where it was moved since.")
]
MEMORY = "2GB"
MIN_MEMORY_BYTES = 16_000_000  # a chunk of vectors


def bytes_of(text: str) -> int:
    """A size such as 2GB, 512M or 2GiB, in bytes.

    Raises:
        ConfigError: the text is no size, or the size is below 16 MB.
    """
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        size = int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        raise ConfigError(
            f"--memory {text!r} is no size", "give a number with a unit, such as 2GB"
        ) from None
    if size < MIN_MEMORY_BYTES:
        raise ConfigError(f"--memory {text!r} is below 16MB", "give more, such as 2GB")
    return size


def index_settings(kind: str, recall: float, memory: str, store: str | None) -> "IndexSettings":
    """The requested settings of an index.

    Raises:
        ConfigError: a value is not one of those allowed.
    """
    from fgembed.index.segments.kinds import check_name
    from fgembed.index.segments.segment_builder import IndexSettings

    check_name(kind)
    check_recall(recall)
    if store not in (None, "float32", "float16"):
        raise ConfigError(f"--store {store!r} is unknown", "give float32 or float16")
    return IndexSettings(kind, store, recall, bytes_of(memory))


def check_recall(recall: float | None) -> None:
    """Checks a recall that searches are to be tuned to.

    Raises:
        ConfigError: it is above 1 or not a number.
    """
    if recall is not None and not recall <= 1:
        raise ConfigError(f"--recall {recall} is not a share up to 1", "give one, such as 0.95")
