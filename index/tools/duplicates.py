"""Finds images that an index holds more than once: equal files, or near copies."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fgembed.disk.files import sha256
from fgembed.index.format.metadata_table import all_items
from fgembed.index.search.open_index import IndexedVectors

QUERIES_AT_ONCE = 1000
NEAREST = 20  # neighbours that are compared with each image, besides copies of its file
MAX_COPIES = 1000


@dataclass(frozen=True)
class Group:
    """Images each of which is a copy of another one in the group.

    Attributes:
        exact: whether the image files are equal, byte by byte.
        ids: of the items, rising.
        score: the lowest cosine of a pair that joined the group; 1.0 for equal files.
    """

    exact: bool
    ids: list[int]
    score: float


class _UnionFind:
    """Disjoint sets of ids that merge when two of their members are joined.

    Attributes:
        parent: of each id; the smallest id of a set is its root and its own parent.
        lowest: lowest score of a join, by root.
    """

    def __init__(self) -> None:
        self.parent: dict[int, int] = {}
        self.lowest: dict[int, float] = {}

    def root(self, member: int) -> int:
        """The smallest member of a member's set."""
        self.parent.setdefault(member, member)
        while self.parent[member] != member:
            self.parent[member] = self.parent[self.parent[member]]
            member = self.parent[member]
        return member

    def join(self, first: int, second: int, score: float) -> None:
        """Merges the sets of two members."""
        low, high = sorted((self.root(first), self.root(second)))
        scores = [self.lowest.get(low, 1.0), self.lowest.get(high, 1.0)]
        if low != high:
            self.parent[high] = low
            self.lowest[low] = min(*scores, score)

    def members(self) -> dict[int, list[int]]:
        """Each set, sorted, by its root."""
        sets: dict[int, list[int]] = {}
        for member in sorted(self.parent):
            sets.setdefault(self.root(member), []).append(member)
        return sets


def duplicates(vectors: IndexedVectors, threshold: float | None) -> list[Group]:
    """Groups of copies, the largest first.

    Equal files have equal checksums; the file of an image that was imported without a checksum is
    read. Near copies are pairs with a cosine of at least `threshold`; pairs that share an image
    join one group. Each image is compared with its nearest neighbours alone: 20, plus as many as
    the largest group of equal files has, at most 1,000. Of an image with more near copies some
    are missed.

    Args:
        vectors: the index.
        threshold: lowest cosine of near copies, in [-1, 1]; None finds equal files alone.
    """
    equal_files = _UnionFind()
    first: dict[str, int] = {}
    for id_, checksum in _checksums(vectors):
        if checksum in first:
            equal_files.join(first[checksum], id_, 1.0)
        first.setdefault(checksum, id_)
    groups = [Group(True, ids, 1.0) for ids in equal_files.members().values()]
    if threshold is not None:
        copies = {id_ for group in groups for id_ in group.ids[1:]}
        # Copies of one file fill up the neighbours of an image.
        largest = max((len(group.ids) for group in groups), default=1)
        similar = _similar_images(vectors, threshold, copies, NEAREST + min(largest, MAX_COPIES))
        groups += [
            Group(False, ids, similar.lowest[root]) for root, ids in similar.members().items()
        ]
    return sorted(groups, key=lambda group: (-len(group.ids), group.ids))


def _checksums(vectors: IndexedVectors) -> Iterator[tuple[int, str]]:
    for segment in vectors.segments:
        for position, item in enumerate(all_items(segment.connection)):
            if segment.live is None or segment.live[position]:
                checksum = item.sha256 or _of_file(Path(segment.entry.root, item.path))
                if checksum is not None:
                    yield item.id, checksum


def _of_file(path: Path) -> str | None:
    try:
        return sha256(path)
    except (OSError, ValueError):
        return None


def _similar_images(
    vectors: IndexedVectors, threshold: float, copies: set[int], k: int
) -> _UnionFind:
    """Joins each image, `copies` aside, with those of its k nearest that reach the threshold."""
    groups = _UnionFind()
    queries = vectors.live_ids()
    queries = queries[~np.isin(queries, np.array(sorted(copies), np.int64))]
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        batch = queries[start : start + QUERIES_AT_ONCE]
        scores, ids = vectors.search(vectors.reconstruct(batch), k)
        rows, columns = np.nonzero((scores >= threshold) & (ids >= 0))
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            query, neighbour = int(batch[row]), int(ids[row, column])
            if query != neighbour and neighbour not in copies:
                groups.join(query, neighbour, float(scores[row, column]))
    return groups


def paths_of(vectors: IndexedVectors, groups: list[Group]) -> dict[int, Path]:
    """The image path (absolute) of each id in the groups."""
    return vectors.paths(sorted({id_ for group in groups for id_ in group.ids}))
