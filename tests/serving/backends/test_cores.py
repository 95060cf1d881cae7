"""Inference takes the cores that this process may use, however that is bounded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serving.backends.cores import count_cores


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Eight logical CPUs on four cores of two sockets, all of them ours, without a quota."""
    for cpu in range(8):
        topology = tmp_path / f"sys/devices/system/cpu/cpu{cpu}/topology"
        topology.mkdir(parents=True)
        (topology / "physical_package_id").write_text(f"{cpu % 4 // 2}\n")
        (topology / "core_id").write_text(f"{cpu % 2}\n")
    (tmp_path / "proc/self").mkdir(parents=True)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    return tmp_path


def put(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_hyperthreads_of_a_core_count_once(machine: Path) -> None:
    assert count_cores(machine) == 4


def test_cores_that_the_process_is_not_bound_to_do_not_count(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 4, 1}, raising=False)
    assert count_cores(machine) == 2


def test_every_cpu_is_a_core_where_the_system_does_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)
    assert count_cores(tmp_path) == 3


@pytest.mark.parametrize(
    ("quota", "cores"),
    [
        ("max 100000", 4),
        ("200000 100000", 2),
        ("150000 100000", 2),
        ("20000 100000", 1),
        ("900000 100000", 4),
    ],
)
def test_container_quota_bounds_the_cores(machine: Path, quota: str, cores: int) -> None:
    put(machine, "proc/self/cgroup", "0::/\n")
    put(machine, "sys/fs/cgroup/cpu.max", quota + "\n")
    assert count_cores(machine) == cores


def test_quota_of_an_enclosing_group_counts_too(machine: Path) -> None:
    put(machine, "proc/self/cgroup", "0::/pod/container\n")
    put(machine, "sys/fs/cgroup/pod/cpu.max", "100000 100000\n")
    put(machine, "sys/fs/cgroup/pod/container/cpu.max", "300000 100000\n")
    assert count_cores(machine) == 1


def test_quota_of_the_older_cgroups_counts_too(machine: Path) -> None:
    put(machine, "proc/self/cgroup", "5:memory:/x\n4:cpu,cpuacct:/docker/abc\n")
    put(machine, "sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    put(machine, "sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    put(machine, "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_quota_us", "300000\n")
    put(machine, "sys/fs/cgroup/cpu/docker/abc/cpu.cfs_period_us", "100000\n")
    assert count_cores(machine) == 3


def test_this_machine_has_a_core() -> None:
    assert 1 <= count_cores() <= (os.cpu_count() or 1)
