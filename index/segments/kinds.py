"""The kinds of index: which FAISS structure each is, and which is taken where none is asked for.

Vectors are unit length and the metric is the inner product, so a score is a cosine. A structure
proposes candidates; whatever it has compressed is scored anew by the vectors themselves.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from fgembed.errors import ConfigError

VECTORS_A_LIST = 32  # to train on: twice as many train no better lists in the same time
FLAT_BYTES = 20_000_000  # of float32 vectors: exact search of as much takes two milliseconds


@dataclass(frozen=True)
class Size:
    """What a structure is made for.

    Attributes:
        count: N vectors.
        dimensions: D.
        store: how their rows are kept, `float32` or `float16`.
        trainable: vectors that it may be trained on.
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
    """Whether exact search of so many vectors is as fast as any."""
    return 4 * count * dimensions <= FLAT_BYTES


KINDS: dict[str, Callable[[Size], str]] = {
    "flat": _flat,
    "ivf": _ivf,
    "ivfpq": _ivfpq,
    "hnsw": _hnsw,
    "rabitq": _rabitq,
}


def is_raw(kind: str) -> bool:
    """Whether it is a FAISS factory string."""
    return kind != "auto" and kind not in KINDS


def check_name(kind: str) -> None:
    """Whether it is a kind, or may be a factory string.

    Raises:
        ConfigError: it is neither, or adds what fgembed adds itself.
    """
    if not is_raw(kind):
        return
    if (kind.isalpha() and kind.islower()) or not kind.strip():
        names = ", ".join(KINDS)
        raise ConfigError(f"{kind!r} is no kind of index: none of {names}, nor a FAISS factory")
    for name in ("IDMap", "Refine", "RFlat"):
        if name in kind:
            raise ConfigError(
                f"--kind {kind!r} holds {name}",
                "leave it out: ids are kept and candidates are "
                "scored by the vectors themselves with every kind",
            )


def factory_string(kind: str, size: Size) -> str:
    """FAISS's name for the structure of a kind, or of a kind that is such a name itself.

    Empty for exact search of the rows, which every kind is while it is too small to be trained.

    Raises:
        ConfigError: it adds what fgembed adds itself.
    """
    if kind == "auto":
        kind = "flat" if is_small(size.count, size.dimensions) else "ivfpq"
    if kind in KINDS:
        trained = kind != "hnsw"
        return "" if trained and size.trainable < 4 * VECTORS_A_LIST else KINDS[kind](size)
    check_name(kind)
    return kind


def structure_bytes(factory: str, size: Size) -> int:
    """What FAISS takes for a structure while it grows, roughly, beside the mapped vectors."""
    graph = 300 if "HNSW" in factory and "_HNSW" not in factory else 0
    whole = 4 * size.dimensions if factory.endswith(("Flat", "HNSW32")) else 0
    half = 2 * size.dimensions if factory.endswith("SQfp16") else 0
    codes = whole or half or size.dimensions // 4 + 16
    return round(1.5 * size.count * (codes + graph + 8))  # half as much again while it grows
