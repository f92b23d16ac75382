"""An index of images, and the search for nearest neighbours in it. Never loads torch.

FAISS searches the vectors, ONNX Runtime embeds images, SQLite holds metadata.
"""

from fgembed.index.search.hits import Hit
from fgembed.index.search.searcher import Searcher

__all__ = ["Hit", "Searcher"]
