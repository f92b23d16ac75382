"""What a search gives: hits with their pictures and metadata."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgembed.embedding.array_types import Ids, Vectors

if TYPE_CHECKING:
    from fgembed.index.format.metadata_table import Item
    from fgembed.index.search.open_index import IndexedVectors


@dataclass(frozen=True)
class Hit:
    """A neighbour: its rank from 1, its cosine with the query, its picture and its stable id.

    Scores fall with the rank, except where the hits were re-ranked. `metadata` holds the columns
    that the index was given for the picture.
    """

    rank: int
    score: float
    path: Path
    id: int
    metadata: dict[str, Any] = field(default_factory=dict)


def hits_of(
    vectors: "IndexedVectors", queries: Vectors, k: int, where: str | None = None
) -> list[list[Hit]]:
    """The k nearest pictures of each unit vector (Q, D), nearest first.

    Raises:
        FgembedError: the condition cannot be asked, or queries have another dimension.
    """
    scores, ids = vectors.search(queries, k, where)
    return named(vectors, list(zip(scores, ids, strict=True)))


def named(vectors: "IndexedVectors", rows: list[tuple[Vectors, Ids]]) -> list[list[Hit]]:
    """Scores and ids of each query as hits."""
    found = {number for _, ids in rows for number in ids.tolist() if number >= 0}
    items = vectors.items(sorted(found))
    return [_hits(scores, ids, items) for scores, ids in rows]


def _hits(scores: Vectors, ids: Ids, items: "dict[int, tuple[Path, Item, list[str]]]") -> list[Hit]:
    hits: list[Hit] = []
    for score, number in zip(scores.tolist(), ids.tolist(), strict=True):
        if number >= 0:
            path, item, columns = items[number]
            metadata = dict(zip(columns, item.values, strict=True))
            hits.append(Hit(len(hits) + 1, score, path, number, metadata))
    return hits
