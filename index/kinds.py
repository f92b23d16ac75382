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

    nprobe is the smallest power of two (or all lists) whose recall@10 on a sample of the
    vectors reaches 0.95.
    """
    count, dimensions = vectors.shape
    lists = max(1, min(round(4 * math.sqrt(count)), count // TRAINING_VECTORS_A_LIST))
    index = faiss.IndexIVFFlat(
        faiss.IndexFlatIP(dimensions), dimensions, lists, faiss.METRIC_INNER_PRODUCT
    )
    index.train(vectors)
    index.add_with_ids(vectors, ids)
    queries = vectors[:: max(1, count // SAMPLE)]
    wanted = min(11, count)  # a query finds itself first and ten others
    exact = build_flat(vectors, ids).faiss_index.search(queries, wanted)[1]
    nprobe = 1
    while True:
        recall = _recall(search(index, queries, wanted, {"nprobe": nprobe})[1], exact)
        if recall >= RECALL_TARGET or nprobe == lists:
            return Built(index, {"nprobe": nprobe}, recall)
        nprobe = min(2 * nprobe, lists)


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


def _recall(found: Ids, exact: Ids) -> float:
    """The share of the exact neighbours that are found, the query itself not counted."""
    if exact.shape[1] < 2:
        return 1.0
    pairs = zip(found, exact[:, 1:], strict=True)
    hits = [len(np.intersect1d(some, all_)) / len(all_) for some, all_ in pairs]
    return float(np.mean(hits))
