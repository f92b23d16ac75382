"""The arrays of an index: vectors and ids in .npy files, checked for shape and type."""

from pathlib import Path

import numpy as np

from fgembed.disk.npy_files import read_array
from fgembed.embedding.array_types import Ids
from fgembed.errors import IntegrityError
from fgembed.index.format.manifest import REBUILD


def shape_of_vectors(file: Path) -> tuple[int, int]:
    """The shape (N, D) of the vectors in a file.

    Raises:
        IntegrityError: the file holds no vectors.
    """
    remedy = "write the embeddings again, with numpy.save and vectors as rows"
    try:
        array = read_array(file)
    except (ValueError, OSError) as error:
        raise IntegrityError(f"{file} is no .npy file of vectors: {error}", remedy) from None
    if array.ndim != 2 or array.dtype.kind != "f" or array.shape[1] < 1:
        raise IntegrityError(
            f"{file} holds {array.dtype} of shape {array.shape}, expected floats (N, D)", remedy
        )
    return int(array.shape[0]), int(array.shape[1])


def read_ids(file: Path) -> Ids:
    """The ids (N,) in a file.

    Raises:
        IntegrityError: the file holds something else.
    """
    try:
        ids: Ids = np.array(read_array(file))
    except ValueError as error:
        raise IntegrityError(f"{file} is damaged: {error}", REBUILD) from None
    if ids.ndim != 1 or ids.dtype != np.int64:
        raise IntegrityError(
            f"{file} holds {ids.dtype} of shape {ids.shape}, expected int64 (N,)", REBUILD
        )
    return ids
