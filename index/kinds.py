"""The kinds of index, one class each: how FAISS is built, and how its search is tuned.

Vectors are unit length and the metric is the inner product, so a score is a cosine.
"""

import math
from dataclasses import dataclass
from typing import Any

import faiss
import numpy as np

from fgembed.metrics import Ids, Vectors

RECALL_TARGET = 0.95
SAMPLE = 200
TRAINING_VECTORS_A_LIST = 39  # below this FAISS warns that the lists are badly trained


@dataclass(frozen=True)
class Built:
    """A FAISS index with its search parameters and its recall@10 against exact search."""

    faiss_index: Any
    parameters: dict[str, int]
    recall_at_10: float


def build_flat(vectors: Vectors, ids: Ids) -> Built:
    """Exact search: every vector is compared."""
    index = faiss.IndexIDMap2(faiss.IndexFlatIP(vectors.shape[1]))
    index.add_with_ids(vectors, ids)
    return Built(index, {}, 1.0)


def build_ivf(vectors: Vectors, ids: Ids) -> Built:
    """Vectors in lists around k-means centres; a search visits the `nprobe` nearest lists.

    nprobe is the smallest power of two (or all lists) whose recall@10 reaches 0.95 on a sample
    of the vectors that is held out for it and added at the end.
    """
    count, dimensions = vectors.shape
    held_out = np.zeros(count, dtype=bool)
    held_out[:: max(10, count // SAMPLE)] = count > 10
    kept = ~held_out
    lists = max(1, min(round(4 * math.sqrt(count)), int(kept.sum()) // TRAINING_VECTORS_A_LIST))
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(dimensions), dimensions, lists, faiss.METRIC_INNER_PRODUCT
    )
    index.train(vectors[kept])
    index.add_with_ids(vectors[kept], ids[kept])
    nprobe, recall = _tune(index, vectors[held_out], build_flat(vectors[kept], ids[kept]))
    index.add_with_ids(vectors[held_out], ids[held_out])
    return Built(index, {"nprobe": nprobe}, recall)


def _tune(index: Any, queries: Vectors, exact: Built) -> tuple[int, float]:
    """The smallest nprobe that reaches the recall target on the queries, and its recall@10."""
    if len(queries) == 0:
        return int(index.nlist), 1.0
    wanted = min(10, index.ntotal)
    expected = search(exact.faiss_index, queries, wanted, {})[1]
    nprobe = 1
    while True:
        found = search(index, queries, wanted, {"nprobe": nprobe})[1]
        recall = _recall(found, expected)
        if recall >= RECALL_TARGET or nprobe == index.nlist:
            return nprobe, recall
        nprobe = min(2 * nprobe, index.nlist)


KINDS = {"flat": build_flat, "ivf": build_ivf}


def search(index: Any, queries: Vectors, k: int, parameters: dict[str, int]) -> tuple[Vectors, Ids]:
    """Scores (Q, k) and ids (Q, k) by falling score; id -1 where there are fewer than k."""
    if "nprobe" in parameters:
        chosen = faiss.SearchParametersIVF()
        chosen.nprobe = parameters["nprobe"]
        scores, ids = index.search(queries, k, params=chosen)
    else:
        scores, ids = index.search(queries, k)
    return scores, ids


def reconstruct(index: Any, ids: Ids) -> Vectors:
    """The vectors (N, D) of the ids (N,), which must be in the index."""
    maps: Any = faiss.DirectMap  # type: ignore[attr-defined]
    if isinstance(index, faiss.IndexIVF) and index.direct_map.type == maps.NoMap:
        index.set_direct_map_type(maps.Hashtable)  # in memory; the file stays as it is
    vectors: Vectors = index.reconstruct_batch(ids)
    return vectors


def _recall(found: Ids, exact: Ids) -> float:
    pairs = zip(found, exact, strict=True)
    return float(np.mean([len(np.intersect1d(some, all_)) / len(all_) for some, all_ in pairs]))
