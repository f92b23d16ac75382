"""Search among look-alike photographs: importing fgembed imports nothing else."""

__version__ = "0.1.0"
