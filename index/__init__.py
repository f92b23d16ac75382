"""A folder of pictures as an index, and its nearest neighbours. Never loads torch.

Source: FAISS for vectors, ONNX Runtime for embedding, SQLite for what belongs to an id.
"""

from fgembed.index.search.hits import Hit
from fgembed.index.search.searcher import Searcher

__all__ = ["Hit", "Searcher"]
