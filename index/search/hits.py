"""Hits: what a search returns, with image paths and metadata."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fgembed.disk.file_state import state_or_none
from fgembed.embedding.array_types import Ids, Vectors

if TYPE_CHECKING:
    from fgembed.index.format.metadata_table import Item
    from fgembed.index.search.open_index import IndexedVectors

MISSING_REMEDY = (
    'say where they are now with "fgembed index relocate OLD NEW", or bring the index up to date '
    'with "fgembed index add --sync DIR"'
)

QUERIES_AT_ONCE = 1000  # queries that one search of the index takes


@dataclass(frozen=True)
class Hit:
    """One search result: an indexed image and how near it is to the query.

    Attributes:
        rank: from 1, nearest first.
        score: cosine with the query, in [-1, 1], higher is nearer. It falls with the rank unless
            the hits were re-ranked.
        path: the image file, absolute.
        id: of the item; it stays the same as long as the item is in the index.
        metadata: the item's columns, such as `label`, by name; empty if the index has none.

    Example:
        >>> hit = Hit(rank=1, score=0.93, path=Path("kiwi/7.jpg"), id=42, metadata={"year": 2021})
        >>> f"{hit.path.name} {hit.score:.2f} {hit.metadata['year']}"
        '7.jpg 0.93 2021'
    """

    rank: int
    score: float
    path: Path
    id: int
    metadata: dict[str, Any] = field(default_factory=dict)

    def exists(self) -> bool:
        """Whether the image file is there now; it may have been moved or removed since."""
        return state_or_none(self.path) is not None


def hits_of(
    vectors: "IndexedVectors", queries: Vectors, k: int, where: str | None = None
) -> list[list[Hit]]:
    """The k nearest items of each unit vector (Q, D), nearest first.

    Raises:
        FgembedError: the condition is not valid, or the queries have another dimension.
    """
    scores, ids = vectors.search(queries, k, where)
    return with_items(vectors, list(zip(scores, ids, strict=True)))


def with_items(vectors: "IndexedVectors", neighbours: list[tuple[Vectors, Ids]]) -> list[list[Hit]]:
    """The hits of each query, from the scores (k,) and ids (k,) of its neighbours.

    Id -1 stands for no neighbour and gives no hit.
    """
    unique_ids = {id_ for _, ids in neighbours for id_ in ids.tolist() if id_ >= 0}
    items = vectors.items(sorted(unique_ids))
    return [_hits(scores, ids, items) for scores, ids in neighbours]


def _hits(scores: Vectors, ids: Ids, items: "dict[int, tuple[Path, Item, list[str]]]") -> list[Hit]:
    hits: list[Hit] = []
    for score, id_ in zip(scores.tolist(), ids.tolist(), strict=True):
        if id_ >= 0:
            path, item, columns = items[id_]
            metadata = dict(zip(columns, item.values, strict=True))
            hits.append(Hit(rank=len(hits) + 1, score=score, path=path, id=id_, metadata=metadata))
    return hits
