"""The kinds of index: the FAISS structure of each, and the choice that `auto` makes.

Vectors are unit length and the metric is the inner product, so a score is a cosine. A structure
proposes candidates; those of a compressed one are scored by the vectors themselves.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from fgembed.errors import ConfigError

VECTORS_A_LIST = 32  # to train on: twice as many train no better lists in the same time
FLAT_BYTES = 20_000_000  # of float32 vectors: exact search of them takes two milliseconds


@dataclass(frozen=True)
class Size:
    """The size of a segment, which decides the parameters of its structure.

    Attributes:
        count: N vectors.
        dimensions: D.
        store: the type of the vector file, `float32` or `float16`.
        trainable: vectors that the structure may be trained on.

    Example:
        >>> factory_string("ivfpq", Size(100_000, 256, "float32", trainable=90_000))
        'IVF2530,PQ64x4fs'
    """

    count: int
    dimensions: int
    store: str
    trainable: int

    @property
    def lists(self) -> int:
        """Lists of an inverted file: eight times the square root of N, if they can be trained."""
        return max(1, min(round(8 * math.sqrt(self.count)), self.trainable // VECTORS_A_LIST))


def _flat(_: Size) -> str:
    return ""


def _ivf(size: Size) -> str:
    return f"IVF{size.lists},{'Flat' if size.store == 'float32' else 'SQfp16'}"


def _ivfpq(size: Size) -> str:
    """Four bits for every four dimensions, compared by fast-scan; the width is padded to fours."""
    width = -(-size.dimensions // 4) * 4
    pad = f"Pad{width}," if width > size.dimensions else ""
    return f"{pad}IVF{size.lists},PQ{width // 4}x4fs"


def _hnsw(size: Size) -> str:
    return "HNSW32" if size.store == "float32" else "HNSW32,SQfp16"


def _rabitq(size: Size) -> str:
    return f"IVF{size.lists},RaBitQfs"


def is_small(count: int, dimensions: int) -> bool:
    """Whether exact search of N vectors is as fast as any structure."""
    return 4 * count * dimensions <= FLAT_BYTES


KINDS: dict[str, Callable[[Size], str]] = {
    "flat": _flat,
    "ivf": _ivf,
    "ivfpq": _ivfpq,
    "hnsw": _hnsw,
    "rabitq": _rabitq,
}


def is_raw(kind: str) -> bool:
    """Whether a kind can only be a FAISS factory string."""
    return kind != "auto" and kind not in KINDS


def check_name(kind: str) -> None:
    """Checks that a kind is one of ours, or may be a FAISS factory string.

    Raises:
        ConfigError: it is neither, or names a wrapper that fgembed adds itself.
    """
    if not is_raw(kind):
        return
    if (kind.isalpha() and kind.islower()) or not kind.strip():
        raise ConfigError(
            f"{kind!r} is no kind of index",
            f"give --kind as auto, {', '.join(KINDS)}, or a FAISS factory string",
        )
    for name in ("IDMap", "Refine", "RFlat"):
        if name in kind:
            raise ConfigError(
                f"--kind {kind!r} holds {name}",
                "leave it out: every kind keeps ids and scores candidates by the vectors",
            )


def factory_string(kind: str, size: Size) -> str:
    """FAISS's factory string for a kind; a kind that is a factory string gives itself.

    Empty for exact search, which every kind is while it has too few vectors for training.

    Raises:
        ConfigError: the kind is unknown, or names a wrapper that fgembed adds itself.
    """
    if kind == "auto":
        kind = "flat" if is_small(size.count, size.dimensions) else "ivfpq"
    if kind in KINDS:
        trained = kind != "hnsw"
        return "" if trained and size.trainable < 4 * VECTORS_A_LIST else KINDS[kind](size)
    check_name(kind)
    return kind


def structure_bytes(factory: str, size: Size) -> int:
    """Rough memory of a structure while FAISS builds it, without the mapped vectors."""
    graph = 300 if "HNSW" in factory and "_HNSW" not in factory else 0
    single = 4 * size.dimensions if factory.endswith(("Flat", "HNSW32")) else 0
    half = 2 * size.dimensions if factory.endswith("SQfp16") else 0
    codes = single or half or size.dimensions // 4 + 16
    return round(1.5 * size.count * (codes + graph + 8))  # arrays that grow take half as much again
