"""The types of arrays of vectors, ids and labels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.floating[Any]]


Ids = NDArray[np.int64]


Labels = NDArray[Any]
