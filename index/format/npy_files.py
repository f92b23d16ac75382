"""Arrays in .npy files, mapped; a damaged or hostile file always gives a `ValueError`."""

import threading
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgembed.embedding.array_types import Ids
from fgembed.errors import IntegrityError
from fgembed.index.format.manifest import REBUILD

_HEADERS = threading.Lock()  # numpy reads them with ast, which Python 3.11 cannot do in two threads


def read_array(file: Path) -> NDArray[Any]:
    """The array in a file, mapped: a shape that the file is too short for takes no memory.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError: it holds no array, or one of Python objects.
    """
    try:
        with _HEADERS:
            array: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (SyntaxError, tokenize.TokenError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(f"its header cannot be understood ({type(error).__name__})") from None
    except (EOFError, MemoryError) as error:
        raise ValueError(str(error) or "it is too short") from None
    if not isinstance(array, np.ndarray):
        raise ValueError("it holds several arrays")
    return array


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
