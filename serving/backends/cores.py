"""How many threads inference may use on this machine."""

from __future__ import annotations

import math
import os
from pathlib import Path


def count_cores(root: Path = Path("/")) -> int:
    """Physical cores that this process may use.

    The least of what the machine has (two hyper-threads of a core share the units that inference needs), the
    CPUs that the process is bound to, and the quota of its cgroup (the limit that a container is given).

    Args:
        root: Where ``proc`` and ``sys`` are; for tests.
    """
    try:
        cpus = os.sched_getaffinity(0)
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1
    cores = len({_core(cpu, root) for cpu in cpus})
    return max(1, math.ceil(min(cores, _quota(root))))


def _core(cpu: int, root: Path) -> tuple[str, str]:
    """The socket and the core that a logical CPU belongs to; its own where the system does not say."""
    topology = root / f"sys/devices/system/cpu/cpu{cpu}/topology"
    try:
        package = (topology / "physical_package_id").read_text().strip()
        return package, (topology / "core_id").read_text().strip()
    except OSError:
        return "cpu", str(cpu)


def _quota(root: Path) -> float:
    """CPUs that the cgroup of this process may use at once, the least along its ancestors."""
    quota = math.inf
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, read = root / "sys/fs/cgroup", _quota_v2
        elif "cpu" in controllers.split(","):
            base, read = root / "sys/fs/cgroup/cpu", _quota_v1
        else:
            continue
        group = base / path.lstrip("/")
        # In a container the path may be that of the host, and only the root of the hierarchy is mounted.
        for directory in (group, *group.parents):
            quota = min(quota, read(directory))
            if directory == base:
                break
    return quota


def _quota_v2(directory: Path) -> float:
    limit, _, period = _read(directory / "cpu.max").strip().partition(" ")
    return int(limit) / int(period) if limit.isdigit() and period.isdigit() else math.inf


def _quota_v1(directory: Path) -> float:
    limit = _read(directory / "cpu.cfs_quota_us").strip()
    period = _read(directory / "cpu.cfs_period_us").strip()
    return int(limit) / int(period) if limit.isdigit() and period.isdigit() else math.inf


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
