"""Memory that is freed and soon needed again stays with the process.

glibc hands every large block back to the system as soon as it is freed, and a training step on a
CPU frees and takes hundreds of them: the system then fills each of their pages with zeros again.
"""

import ctypes
from contextlib import suppress

LARGEST = 2**31 - 1  # bytes, of what mallopt takes
# Parameters of mallopt, from glibc's malloc.h.
TRIM_THRESHOLD = -1  # free memory at the top of the heap beyond this is handed back
MMAP_THRESHOLD = -3  # blocks of at least this size are mapped apart and handed back when freed


def keep_freed_memory() -> bool:
    """Lets this process keep up to 2 GB of freed memory for its next blocks, where glibc serves it.

    Returns:
        Whether it does; elsewhere nothing changes.
    """
    with suppress(OSError, AttributeError, TypeError):  # no glibc
        mallopt = ctypes.CDLL(None).mallopt
        thresholds = (MMAP_THRESHOLD, LARGEST), (TRIM_THRESHOLD, LARGEST)
        return all([bool(mallopt(name, value)) for name, value in thresholds])
    return False
