"""Pictures that an index holds more than once: the same file, or nearly the same picture."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fgembed.disk.files import sha256
from fgembed.index.format.metadata_table import all_items
from fgembed.index.search.open_index import IndexedVectors

QUERIES_AT_ONCE = 1000
NEAREST = 20  # of each picture that are looked at, beside the same files
MOST_COPIES = 1000


@dataclass(frozen=True)
class Group:
    """Pictures of which each is a copy of another one in the group.

    Attributes:
        exact: whether their files have the same content.
        ids: of the pictures, rising.
        score: the lowest cosine by which one joined the group; 1.0 where files are the same.
    """

    exact: bool
    ids: list[int]
    score: float


class _Groups:
    """Sets that merge where two of their members are joined (union-find)."""

    def __init__(self) -> None:
        self.parent: dict[int, int] = {}
        self.lowest: dict[int, float] = {}

    def root(self, one: int) -> int:
        """The smallest member of one's set."""
        self.parent.setdefault(one, one)
        while self.parent[one] != one:
            self.parent[one] = self.parent[self.parent[one]]
            one = self.parent[one]
        return one

    def join(self, one: int, other: int, score: float) -> None:
        """Merges two sets."""
        low, high = sorted((self.root(one), self.root(other)))
        scores = [self.lowest.get(low, 1.0), self.lowest.get(high, 1.0)]
        if low != high:
            self.parent[high] = low
            self.lowest[low] = min(*scores, score)

    def members(self) -> dict[int, list[int]]:
        """Each set by its smallest member."""
        sets: dict[int, list[int]] = {}
        for one in sorted(self.parent):
            sets.setdefault(self.root(one), []).append(one)
        return sets


def duplicates(vectors: IndexedVectors, threshold: float | None) -> list[Group]:
    """Groups of copies, the largest first.

    Files of the same content are found by their checksums; the file of a picture that came without
    one is read. Near copies are pairs whose cosine is at least `threshold`, joined over one
    another. Looked at are each picture's nearest, 20 and as many as there are copies of one file,
    up to 1,000: near copies of a picture of which there are more are missed.

    Args:
        vectors: the index.
        threshold: of the cosine; None looks for the same files alone.
    """
    same = _Groups()
    first: dict[str, int] = {}
    for number, checksum in _checksums(vectors):
        if checksum in first:
            same.join(first[checksum], number, 1.0)
        first.setdefault(checksum, number)
    found = [Group(True, members, 1.0) for members in same.members().values()]
    if threshold is not None:
        copies = {one for group in found for one in group.ids[1:]}
        most = max((len(group.ids) for group in found), default=1)  # of one picture's neighbours
        near = _near(vectors, threshold, copies, NEAREST + min(most, MOST_COPIES))
        found += [Group(False, some, near.lowest[root]) for root, some in near.members().items()]
    return sorted(found, key=lambda group: (-len(group.ids), group.ids))


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


def _near(vectors: IndexedVectors, threshold: float, copies: set[int], k: int) -> _Groups:
    """Pairs above the threshold among the k nearest, without all but the first of equal files."""
    groups = _Groups()
    everyone = vectors.live_ids()
    everyone = everyone[~np.isin(everyone, np.array(sorted(copies), np.int64))]
    for start in range(0, len(everyone), QUERIES_AT_ONCE):
        some = everyone[start : start + QUERIES_AT_ONCE]
        scores, ids = vectors.search(vectors.reconstruct(some), k)
        rows, places = np.nonzero((scores >= threshold) & (ids >= 0))
        for row, place in zip(rows.tolist(), places.tolist(), strict=True):
            one, other = int(some[row]), int(ids[row, place])
            if one != other and other not in copies:
                groups.join(one, other, float(scores[row, place]))
    return groups


def paths_of(vectors: IndexedVectors, groups: list[Group]) -> dict[int, Path]:
    """The picture of each id in the groups."""
    return vectors.paths(sorted({one for group in groups for one in group.ids}))
