"""Freed memory that stays with the process, in processes of their own."""

import platform
import subprocess
import sys

import pytest

GLIBC = platform.libc_ver()[0] == "glibc"
TAKE_AND_FREE = """
import resource, sys
from fgembed.model.freed_memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
bytearray(16 << 20)
before = faults()
for _ in range(10):
    bytearray(16 << 20)
print(faults() - before)
"""


def faults(how: str) -> int:
    """Page faults of ten blocks of 16 MB, taken and freed one after the other."""
    command = [sys.executable, "-c", TAKE_AND_FREE, how]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.skipif(not GLIBC, reason="another C library")
def test_memory_that_is_kept_is_not_filled_again():
    assert 10 * faults("keep") < faults("leave")
