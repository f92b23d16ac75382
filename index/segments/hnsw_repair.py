"""Repairs an HNSW graph, so that a search that is wide enough reaches every vector.

When a vertex has too many links, FAISS drops some of them. A vertex can so lose the last link that
leads to it: rarely with distinct vectors, often among hundreds of copies of one image. Copies may
also link only to one another, so that a search that starts at a copy never leaves them.
"""

from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from fgembed.embedding.array_types import Ids
from fgembed.index.segments import faiss_memory
from fgembed.index.segments.faiss_index import Mask

NEAREST = 32  # vertices that may get a link
CHUNK = 1 << 15  # vertices whose links are read at once, to bound memory
EQUAL = 1e-6  # of a cosine
FREE = -1  # FAISS's mark of a free link; a search ignores all links behind it
NO_VERTEX = -1  # the parent of a vertex that is not reached


class Level0Graph:
    """The links of an IndexHNSW on level 0, which has every vector, and a spanning tree of them.

    A search comes down to level 0 at the entry or at another vertex of a higher level. If every
    vertex can be reached from the entry, and the entry from every vertex of a higher level, then
    each search can reach every vertex.

    Attributes:
        index: the IndexHNSW.
        entry: the vertex at which searches begin.
        width: the number of links of a vertex on level 0.
        starts: the position in `links` at which the links of each vertex begin (N,).
        links: of all levels, FAISS's own memory: a change is a change of the graph.
        parent: the vertex before each in the tree (N,), -1 for a vertex that is not reached.
        returns: whether the entry can be reached from each vertex (N,).

    Example:
        >>> index = faiss.IndexHNSWFlat(2, 4, faiss.METRIC_INNER_PRODUCT)
        >>> index.add(np.eye(2, dtype=np.float32))
        >>> Level0Graph(index).links_of(np.array([1])).tolist()
        [[0, -1, -1, -1, -1, -1, -1, -1]]
    """

    def __init__(self, index: Any) -> None:
        self.index = index
        self.entry = faiss_memory.graph_entry(index)
        self.width = faiss_memory.graph_width(index)
        self.starts = faiss_memory.graph_offsets(index)
        self.links = faiss_memory.graph_links(index)
        self.parent = np.full(len(self.starts), NO_VERTEX)
        self.returns = np.zeros(len(self.starts), bool)
        if len(self.starts):
            self.reach(self.entry, self.entry)
            self.returns[self.entry] = True
            self.mark_reaching()

    @property
    def unreached(self) -> Ids:
        """The vertices that cannot be reached from the entry."""
        return np.flatnonzero(self.parent == NO_VERTEX)

    @property
    def trapped(self) -> Ids:
        """The vertices of higher levels from which the entry cannot be reached."""
        return np.flatnonzero(~self.returns & (faiss_memory.graph_levels(self.index) > 1))

    def links_of(self, vertices: Ids) -> NDArray[np.int32]:
        """The vertices that `vertices` (B,) link to, (B, width)."""
        linked: NDArray[np.int32] = self.links[
            self.starts[vertices][:, None] + np.arange(self.width)
        ]
        return linked

    def reach(self, vertex: int, parent: int) -> None:
        """Adds a vertex to the tree, and every vertex that can be reached from it."""
        self.parent[vertex] = parent
        waiting = [np.array([vertex])]
        while waiting:
            vertices = waiting.pop()
            linked = self.links_of(vertices)
            new = (linked != FREE) & (self.parent[linked] == NO_VERTEX)
            rows, _ = new.nonzero()
            self.parent[linked[new]] = vertices[rows]
            added = np.unique(linked[new])
            if len(added):
                waiting += np.array_split(added, range(CHUNK, len(added), CHUNK))

    def reachable_from(self, vertex: int) -> Ids:
        """The vertices that can be reached from a vertex, itself included."""
        reached = np.zeros(len(self.starts), bool)
        frontier = np.array([vertex])
        while len(frontier):
            reached[frontier] = True
            linked = self.links_of(frontier)
            frontier = np.unique(linked[(linked != FREE) & ~reached[linked]])
        return np.flatnonzero(reached)

    def mark_reaching(self) -> None:
        """Marks in `returns` every vertex from which a marked vertex can be reached."""
        while True:
            unmarked, progress = np.flatnonzero(~self.returns), False
            for start in range(0, len(unmarked), CHUNK):
                vertices = unmarked[start : start + CHUNK]
                linked = self.links_of(vertices)
                reaches = ((linked != FREE) & self.returns[linked]).any(axis=1)
                self.returns[vertices[reaches]] = True
                progress |= bool(reaches.any())
            if not progress:
                return

    def link(self, sources: Ids, target: int) -> int | None:
        """Links the first of `sources` that has room to `target`.

        Room is a free link, or a link that is not the tree's.

        Returns:
            The source that got the link, None if none has room.
        """
        linked = self.links_of(sources)
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

    def nearest(self, vertex: int, allowed: Mask) -> Ids:
        """The nearest vertices that are allowed, by comparing all."""
        parameters = faiss.SearchParameters(sel=faiss_memory.selector_of(allowed))
        storage = faiss.downcast_index(self.index.storage)
        count = min(NEAREST, int(allowed.sum()))
        _, neighbours = storage.search(
            self.index.reconstruct(vertex)[None], count, params=parameters
        )
        nearest: Ids = neighbours[0][neighbours[0] >= 0]
        return nearest


def reconnect(index: Any) -> int:
    """Links every unreached vertex from a near one, and every trapped vertex to a way out.

    Args:
        index: an IndexHNSW, changed in place.

    Returns:
        The number of links that were set.
    """
    graph = Level0Graph(index)
    links_set = _attach_unreached(graph)
    if links_set:
        graph = Level0Graph(index)  # a replaced link may have led back to the entry
    return links_set + _free_trapped(graph)


def _attach_unreached(graph: Level0Graph) -> int:
    """Adds every vertex to the tree; a copy is linked from the copy before it."""
    links_set, last = 0, NO_VERTEX
    for vertex in graph.unreached.tolist():
        if graph.parent[vertex] != NO_VERTEX:
            continue
        in_tree = graph.parent != NO_VERTEX
        linked = graph.links_of(np.array([vertex]))[0].astype(np.int64)
        sources = [linked[(linked != FREE) & in_tree[linked]]]
        if last != NO_VERTEX and _cosine(graph, vertex, last) > 1 - EQUAL:
            sources.append(np.array([last]))
        source = graph.link(np.concatenate(sources), vertex)
        if source is None:
            source = graph.link(graph.nearest(vertex, in_tree), vertex)
        if source is None:  # a leaf of the tree always has room
            leaves = np.setdiff1d(np.flatnonzero(in_tree), graph.parent)
            source = graph.link(leaves[:1], vertex)
        assert source is not None
        graph.reach(vertex, source)
        last, links_set = vertex, links_set + 1
    return links_set


def _free_trapped(graph: Level0Graph) -> int:
    links_set = 0
    for vertex in graph.trapped.tolist():
        if graph.returns[vertex]:
            continue
        target = int(graph.nearest(vertex, graph.returns)[0])
        source = graph.link(np.array([vertex]), target)
        if source is None:  # then from a vertex that it reaches: leaves of the tree have room
            source = graph.link(graph.reachable_from(vertex), target)
        assert source is not None
        graph.returns[source] = True
        graph.mark_reaching()
        links_set += 1
    return links_set


def _cosine(graph: Level0Graph, first: int, second: int) -> float:
    return float(graph.index.reconstruct(first) @ graph.index.reconstruct(second))
