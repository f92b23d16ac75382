"""Indexes that FAISS itself builds, to compare with."""

from typing import Any

import faiss
import numpy as np


def inner_product(factory: str, vectors: np.ndarray) -> Any:
    index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
    index.train(vectors)
    index.add(vectors)
    return index
