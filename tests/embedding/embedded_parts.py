"""What the tests of embeddings in parts read of a folder, and what it should hold."""

from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet

from fgembed.bundle import Bundle
from fgembed.embedding.onnx_embedder import OnnxEmbedder
from fgembed.images.preprocessing import read_image
from fgembed.images.sources import Listing


def read(folder: Path) -> tuple[np.ndarray, dict[str, list[object]]]:
    """All parts in the order of their names, as other tools read them."""
    vectors = [np.load(file) for file in sorted((folder / "img_emb").glob("*.npy"))]
    tables = [
        pyarrow.parquet.read_table(f) for f in sorted((folder / "metadata").glob("*.parquet"))
    ]
    columns: dict[str, list[object]] = pyarrow.concat_tables(tables).to_pydict()
    return np.concatenate(vectors), columns


def vectors_one_by_one(bundle: Bundle, listing: Listing) -> np.ndarray:
    embedder = OnnxEmbedder(bundle.model, bundle.preprocessing, "cpu")
    pixels = [read_image(Path(str(path)), bundle.preprocessing) for path in listing.images]
    return np.concatenate([embedder.vectors(image[None]) for image in pixels])
