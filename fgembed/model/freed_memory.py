"""Memory that is freed and soon needed again stays with the process.

glibc hands a large block back to the system as soon as it is freed, and a training step on a CPU
frees and takes hundreds of them: the system then fills each of their pages with zeros again.
"""

import ctypes
from contextlib import suppress

# Parameters of mallopt, from glibc's malloc.h.
TRIM_THRESHOLD = -1  # free memory at the top of the heap beyond this is handed back
MMAP_THRESHOLD = -3  # blocks of at least this size are mapped apart and handed back when freed
LARGEST = 2**31 - 1  # bytes, of what mallopt takes
LARGEST_BEFORE_2_34 = 32 * 2**20  # of what earlier releases of glibc take for MMAP_THRESHOLD


def keep_freed_memory() -> bool:
    """Lets this process keep freed memory for its next blocks, from now on.

    Returns:
        Whether it does; where another C library serves it, nothing changes.
    """
    with suppress(OSError, AttributeError, TypeError):  # no glibc
        mallopt = ctypes.CDLL(None).mallopt
        # The other threshold alone would fix this one at its least, and more would be handed back.
        if mallopt(MMAP_THRESHOLD, LARGEST) or mallopt(MMAP_THRESHOLD, LARGEST_BEFORE_2_34):
            return bool(mallopt(TRIM_THRESHOLD, LARGEST))
    return False
