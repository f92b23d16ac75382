"""Arrays in .npy files, mapped; whatever a damaged or hostile file holds is one kind of error."""

import threading
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fgembed.errors import IntegrityError

_HEADERS = threading.Lock()  # numpy reads them with ast, which Python 3.11 cannot do in two threads


def read_array(file: Path) -> NDArray[Any]:
    """The array in a file, mapped: a shape that the file is too short for takes no memory.

    Raises:
        OSError: there is no such file, or it cannot be read.
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
    """N and D of a file of vectors.

    Raises:
        IntegrityError: it holds something else.
    """
    try:
        array = read_array(file)
    except (ValueError, OSError) as error:
        raise IntegrityError(f"{file} is no .npy file of vectors: {error}") from None
    if array.ndim != 2 or array.dtype.kind != "f" or array.shape[1] < 1:
        raise IntegrityError(
            f"{file} holds {array.dtype} of shape {array.shape}, expected floats (N, D)"
        )
    return int(array.shape[0]), int(array.shape[1])
