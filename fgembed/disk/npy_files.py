"""Arrays in .npy files, mapped; a damaged or hostile file always gives a `ValueError`."""

import threading
import tokenize
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
