"""Mends an HNSW graph: a vector that no link leads to would never be found.

FAISS keeps a vertex's own links and drops, where a vertex has too many, those that lead to it. Once
in some thousand graphs of a few hundred vectors one loses the last of them; with a hundred and more
copies of one picture it is the rule.
"""

from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from fgembed.metrics import Ids

NEAREST = 32  # vertices that may get the link
AT_ONCE = 1 << 15  # vertices whose links are looked at, to bound memory
NOBODY = -1  # FAISS's mark of a link that is free; a search looks at none behind it


class Ground:
    """The links of an IndexHNSW on the level that has every vector, and a tree of them.

    Attributes:
        starts: where each vertex's links begin (N,).
        links: of all levels; those of FAISS itself, so that what is written here is searched.
        parent: the vertex from which a walk from the entry comes to each (N,); -1 if none does.
    """

    def __init__(self, index: Any) -> None:
        hnsw = index.hnsw
        self.width = int(hnsw.nb_neighbors(0))
        self.starts = faiss.vector_to_array(hnsw.offsets)[:-1].astype(np.int64)
        neighbours = hnsw.neighbors
        self.links: npt.NDArray[np.int32] = faiss.rev_swig_ptr(neighbours.data(), neighbours.size())
        self.parent = np.full(len(self.starts), NOBODY)
        if len(self.starts):
            self.take_in(int(hnsw.entry_point), int(hnsw.entry_point))

    @property
    def lost(self) -> Ids:
        """The vertices that no walk comes to."""
        return np.flatnonzero(self.parent == NOBODY)

    def of(self, vertices: Ids) -> npt.NDArray[np.int32]:
        """Where vertices (B,) link to, (B, width)."""
        linked: npt.NDArray[np.int32] = self.links[
            self.starts[vertices][:, None] + np.arange(self.width)
        ]
        return linked

    def take_in(self, vertex: int, parent: int) -> None:
        """A vertex becomes part of the tree, and so does what can be walked to from it."""
        self.parent[vertex] = parent
        waiting = [np.array([vertex])]
        while waiting:
            some = waiting.pop()
            linked = self.of(some)
            new = (linked != NOBODY) & (self.parent[linked] == NOBODY)
            rows, _ = new.nonzero()
            self.parent[linked[new]] = some[rows]
            found = np.unique(linked[new])
            if len(found):
                waiting += np.array_split(found, range(AT_ONCE, len(found), AT_ONCE))

    def attach(self, vertex: int, sources: Ids) -> None:
        """Links to a vertex from the first of `sources` that has a link which is not the tree's.

        If none has, from any leaf of the tree.
        """
        worth = self._worth(sources)
        rows = np.flatnonzero(worth.max(axis=1, initial=NOBODY) >= 0)
        if not len(rows):
            inside = np.flatnonzero(self.parent != NOBODY)
            sources, rows = np.setdiff1d(inside, self.parent)[:1], np.zeros(1, np.int64)
            worth = self._worth(sources)
        source, place = int(sources[rows[0]]), int(worth[rows[0]].argmax())
        self.links[self.starts[source] + place] = vertex
        self.take_in(vertex, source)

    def _worth(self, sources: Ids) -> Ids:
        """Which link of each source is best given away, by its highest number; -1 if it may not.

        A free one is best, the first of them; else the last one that is not the tree's.
        """
        linked = self.of(sources)
        is_tree = (linked != NOBODY) & (self.parent[linked] == sources[:, None])
        worth = np.where(linked == NOBODY, self.width, np.arange(self.width))
        return np.where(is_tree, NOBODY, worth)


def reconnect(index: Any) -> int:
    """Links every vector that cannot be reached from a near one that can.

    Args:
        index: an IndexHNSW, changed in place.

    Returns:
        How many links were set.
    """
    ground, made = Ground(index), 0
    for vertex in ground.lost.tolist():
        if ground.parent[vertex] == NOBODY:
            ground.attach(vertex, _nearest(index, vertex, ground.parent != NOBODY))
            made += 1
    return made


def _nearest(index: Any, vertex: int, reached: npt.NDArray[np.bool_]) -> Ids:
    """The nearest vertices that are reached."""
    selector = faiss.IDSelectorBitmap(np.packbits(reached, bitorder="little"))
    chosen = faiss.SearchParametersHNSW(sel=selector, efSearch=4 * NEAREST)
    _, found = index.search(index.reconstruct(vertex)[None], NEAREST, params=chosen)
    nearest: Ids = found[0][found[0] >= 0]
    return nearest
