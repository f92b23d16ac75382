"""The cores of a container are those of its quota, not those of the machine."""

import os
from pathlib import Path

import pytest

from fgembed.cores import core_count


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    return tmp_path


def write(machine: Path, name: str, text: str) -> None:
    file = machine / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(
    ("limit", "cores"),
    [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("max 100000", 64), ("", 64)],
)
def test_the_quota_of_a_container_counts_rounded_up(machine, limit, cores):
    write(machine, "proc/self/cgroup", "0::/\n")
    write(machine, "sys/fs/cgroup/cpu.max", limit + "\n")
    assert core_count(machine) == cores


def test_an_outer_group_may_allow_less_than_the_inner(machine):
    write(machine, "proc/self/cgroup", "0::/pod/box\n")
    write(machine, "sys/fs/cgroup/pod/cpu.max", "300000 100000\n")
    write(machine, "sys/fs/cgroup/pod/box/cpu.max", "800000 100000\n")
    assert core_count(machine) == 3


def test_version_1_groups_and_a_name_that_only_the_host_knows(machine):
    write(machine, "proc/self/cgroup", "5:memory:/a\n4:cpu,cpuacct:/docker/0f\n1:name=systemd:/x\n")
    write(machine, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "400000\n")
    write(machine, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    write(machine, "sys/fs/cgroup/memory/cpu.cfs_quota_us", "100000\n")
    assert core_count(machine) == 4
    write(machine, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    assert core_count(machine) == 64


def test_without_control_groups_the_affinity_counts(machine):
    assert core_count(machine) == 64
