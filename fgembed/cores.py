"""How many cores this process may use."""

import math
import os
from pathlib import Path


def core_count(system: Path = Path("/")) -> int:
    """The cores that this process may use: the smaller of its affinity and its CPU quota.

    A container's quota is rounded up to full cores.

    Args:
        system: the folder that holds `proc` and `sys`.
    """
    on_linux = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if on_linux else os.cpu_count() or 1
    return max(1, min([cores, *(math.ceil(quota) for quota in _quotas(system))]))


def _quotas(system: Path) -> list[float]:
    """The quotas, in cores, of this process's control group and of those that contain it.

    Inside a container, a group may be listed under its path on the host. That path does not exist
    there; the group is the root of the mount.
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
        path = Path(group.lstrip("/"))
        for folder in dict.fromkeys(mount / level for level in (path, *path.parents, Path())):
            quotas += _quota_v1(folder) if controllers else _quota_v2(folder)
    return quotas


def _quota_v2(folder: Path) -> list[float]:
    try:
        quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        return [] if quota == "max" else [int(quota) / int(period)]
    except (OSError, ValueError):
        return []


def _quota_v1(folder: Path) -> list[float]:
    try:
        quota, period = (
            int((folder / name).read_text(encoding="utf-8"))
            for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        )
        return [] if quota <= 0 else [quota / period]
    except (OSError, ValueError, ZeroDivisionError):
        return []
