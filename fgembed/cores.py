"""How many cores there are to share."""

import math
import os
from pathlib import Path


def core_count(system: Path = Path("/")) -> int:
    """The cores this process may use: its affinity, and its container's quota rounded up.

    Args:
        system: where `/proc` and `/sys` are looked for.
    """
    affine = hasattr(os, "sched_getaffinity")  # Linux
    cores = len(os.sched_getaffinity(0)) if affine else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas(system))]))


def _quotas(system: Path) -> list[float]:
    """Cores that the control groups of this process allow, from its own up to the outermost.

    Inside a container the group's name may be that of the host, where the root is the group.
    """
    try:
        lines = (system / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    quotas = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = system / "sys/fs/cgroup" / ("cpu" if controllers else "")
        own = Path(group.lstrip("/"))
        for folder in dict.fromkeys(mount / level for level in (own, *own.parents, Path())):
            quotas += _unified(folder) if not controllers else _legacy(folder)
    return quotas


def _unified(folder: Path) -> list[float]:
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        return [] if quota == "max" else [int(quota) / int(period)]
    except (OSError, ValueError):
        return []


def _legacy(folder: Path) -> list[float]:
    try:
        quota, period = (
            int((folder / name).read_text(encoding="utf-8"))
            for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        )
        return [] if quota <= 0 else [quota / period]
    except (OSError, ValueError, ZeroDivisionError):
        return []
