"""Mends an HNSW graph, so that a search that is wide enough finds every vector.

FAISS keeps a vertex's own links and drops, where a vertex has too many, those that lead to it. Now
and then one loses the last of them. With hundreds of copies of one picture it is the rule, and the
copies may link to one another alone, so that a search that begins at one of them never leaves.
"""

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from fgembed.embedding.array_types import Ids
from fgembed.index.segments.faiss_index import Mask

NEAREST = 32  # vertices that may get a link
AT_ONCE = 1 << 15  # vertices whose links are looked at, to bound memory
EQUAL = 1e-6  # of a cosine
FREE = -1  # FAISS's mark of a link that is free; a search looks at none behind it
NO_IDS = -1  # the parent of what is not reached


class Level0Graph:
    """The links of an IndexHNSW on level 0, which has every vector, and a spanning tree of them.

    A search comes down to level 0 at the entry or at another vertex of a higher level. If every
    vertex can be reached from the entry, and the entry from every vertex of a higher level, then
    each search can reach every vertex.

    Attributes:
        index: the graph.
        entry: the vertex at which searches begin.
        starts: where each vertex's links begin (N,).
        links: of all levels; those of FAISS itself, so that what is written here is searched.
        parent: the vertex from which the tree comes to each (N,), -1 where it does not.
        returns: which vertices the entry can be reached from (N,).
    """

    def __init__(self, index: Any) -> None:
        hnsw = index.hnsw
        self.index = index
        self.entry = int(hnsw.entry_point)
        self.width = int(hnsw.nb_neighbors(0))
        self.starts = faiss.vector_to_array(hnsw.offsets)[:-1].astype(np.int64)
        neighbours = hnsw.neighbors
        self.links: npt.NDArray[np.int32] = faiss.rev_swig_ptr(neighbours.data(), neighbours.size())
        self.parent = np.full(len(self.starts), NO_IDS)
        self.returns = np.zeros(len(self.starts), bool)
        if len(self.starts):
            self.reach(self.entry, self.entry)
            self.returns[self.entry] = True
            self.mark_reaching()

    @property
    def lost(self) -> Ids:
        """The vertices that cannot be reached from the entry."""
        return np.flatnonzero(self.parent == NO_IDS)

    @property
    def trapped(self) -> Ids:
        """The vertices of higher levels that the entry cannot be reached from."""
        levels = faiss.vector_to_array(self.index.hnsw.levels)
        return np.flatnonzero(~self.returns & (levels > 1))

    def of(self, vertices: Ids) -> npt.NDArray[np.int32]:
        """Where vertices (B,) link to, (B, width)."""
        linked: npt.NDArray[np.int32] = self.links[
            self.starts[vertices][:, None] + np.arange(self.width)
        ]
        return linked

    def reach(self, vertex: int, parent: int) -> None:
        """Takes a vertex into the tree, and with it all that it leads to."""
        self.parent[vertex] = parent
        waiting = [np.array([vertex])]
        while waiting:
            some = waiting.pop()
            linked = self.of(some)
            new = (linked != FREE) & (self.parent[linked] == NO_IDS)
            rows, _ = new.nonzero()
            self.parent[linked[new]] = some[rows]
            found = np.unique(linked[new])
            if len(found):
                waiting += np.array_split(found, range(AT_ONCE, len(found), AT_ONCE))

    def reachable_from(self, vertex: int) -> Ids:
        """The vertices that can be walked to from one."""
        seen = np.zeros(len(self.starts), bool)
        edge = np.array([vertex])
        while len(edge):
            seen[edge] = True
            linked = self.of(edge)
            edge = np.unique(linked[(linked != FREE) & ~seen[linked]])
        return np.flatnonzero(seen)

    def mark_reaching(self) -> None:
        """Marks in `returns` every vertex with a link to one that is marked, and so on."""
        while True:
            others, found = np.flatnonzero(~self.returns), False
            for start in range(0, len(others), AT_ONCE):
                some = others[start : start + AT_ONCE]
                linked = self.of(some)
                leads = ((linked != FREE) & self.returns[linked]).any(axis=1)
                self.returns[some[leads]] = True
                found |= bool(leads.any())
            if not found:
                return

    def link(self, sources: Ids, target: int) -> int | None:
        """Gives one of `sources` a link to `target`, and says which; None if none has room.

        Room is a free link, or one that is not the tree's. The first source that has room gets it.
        """
        linked = self.of(sources)
        is_tree = (linked != FREE) & (self.parent[linked] == sources[:, None])
        # The first free link is best, then the last of the others: a search reads from the front.
        worth = np.where(linked == FREE, self.width, np.arange(self.width))
        worth[is_tree] = -1
        rows = np.flatnonzero(worth.max(axis=1, initial=-1) >= 0)
        if not len(rows):
            return None
        source = int(sources[rows[0]])
        self.links[self.starts[source] + int(worth[rows[0]].argmax())] = target
        return source

    def near(self, vertex: int, allowed: Mask) -> Ids:
        """The nearest vertices that are allowed, by comparing all."""
        bits = np.packbits(allowed, bitorder="little")
        chosen = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
        storage = faiss.downcast_index(self.index.storage)
        count = min(NEAREST, int(allowed.sum()))
        _, found = storage.search(self.index.reconstruct(vertex)[None], count, params=chosen)
        nearest: Ids = found[0][found[0] >= 0]
        return nearest


def reconnect(index: Any) -> int:
    """Links what cannot be reached from something near that can, and what is trapped to a way out.

    Args:
        index: an IndexHNSW, changed in place.

    Returns:
        How many links were set.
    """
    ground = Level0Graph(index)
    made = _attach_lost(ground)
    if made:
        ground = Level0Graph(index)  # a link that was given up may have led back to the entry
    return made + _free_trapped(ground)


def _attach_lost(ground: Level0Graph) -> int:
    """Every vertex becomes part of the tree; a copy is linked from the copy before it."""
    made, last = 0, NO_IDS
    for vertex in ground.lost.tolist():
        if ground.parent[vertex] != NO_IDS:
            continue
        inside = ground.parent != NO_IDS
        own = ground.of(np.array([vertex]))[0].astype(np.int64)
        sources = [own[(own != FREE) & inside[own]]]
        if last != NO_IDS and _cosine(ground, vertex, last) > 1 - EQUAL:
            sources.append(np.array([last]))
        source = ground.link(np.concatenate(sources), vertex)
        if source is None:
            source = ground.link(ground.near(vertex, inside), vertex)
        if source is None:  # a leaf of the tree has room whatever it is
            leaves = np.setdiff1d(np.flatnonzero(inside), ground.parent)
            source = ground.link(leaves[:1], vertex)
        assert source is not None
        ground.reach(vertex, source)
        last, made = vertex, made + 1
    return made


def _free_trapped(ground: Level0Graph) -> int:
    made = 0
    for vertex in ground.trapped.tolist():
        if ground.returns[vertex]:
            continue
        target = int(ground.near(vertex, ground.returns)[0])
        source = ground.link(np.array([vertex]), target)
        if source is None:  # then from what it leads to, which has leaves of the tree
            source = ground.link(ground.reachable_from(vertex), target)
        assert source is not None
        ground.returns[source] = True
        ground.mark_reaching()
        made += 1
    return made


def _cosine(ground: Level0Graph, one: int, other: int) -> float:
    return float(ground.index.reconstruct(one) @ ground.index.reconstruct(other))
