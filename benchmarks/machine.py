"""Where and with what a benchmark ran, and whether it was alone."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]


@dataclass(frozen=True)
class Machine:
    """What the figures of a run hold for.

    Attributes:
        cpu: The processor's name.
        cores: CPUs that the benchmark may use.
        memory: Bytes.
        system: Operating system and architecture.
        versions: Of Python and the libraries that matter.
        date: When the benchmark began.
    """

    cpu: str
    cores: int
    memory: int
    system: str
    versions: dict[str, str]
    date: str

    def describe(self) -> str:
        """One line for a reader."""
        gigabytes = self.memory / 2**30
        return f"{self.cpu}, {self.cores} cores, {gigabytes:.0f} GiB, {self.system}"

    def as_json(self) -> dict[str, Any]:
        """For the results' file."""
        return asdict(self)

    def describe_versions(self) -> str:
        """The versions in one line."""
        return ", ".join(f"{name} {number}" for name, number in self.versions.items())


def describe_machine(*libraries: str) -> Machine:
    """This machine, with the versions of those of ``libraries`` that are installed."""
    versions = {"python": platform.python_version()}
    for name in libraries:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return Machine(
        cpu=_processor(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.machine()}",
        versions=versions,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


class Company:
    """How many cores other processes kept busy: a benchmark wants to be alone.

    To be made when the measurements begin. A process of the benchmark's own that ends before :meth:`cores`
    is asked counts as somebody else's.
    """

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._others = machine_seconds() - cpu_seconds(os.getpid())

    def cores(self) -> float:
        """Cores that others used on average since the start."""
        others = machine_seconds() - cpu_seconds(os.getpid()) - self._others
        return max(0.0, others) / (time.monotonic() - self._began)


@dataclass(frozen=True)
class Memory:
    """What a process and all that it started hold.

    Attributes:
        rss: Bytes in memory, those that processes share counted for each of them.
        pss: Bytes in memory, each shared one split among its processes; 0 where the system does not say.
        processes: How many there are.
    """

    rss: int
    pss: int
    processes: int


def processes(pid: int) -> list[psutil.Process]:
    """A process and all that it started and that still run; none where it has ended."""
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def memory(pid: int) -> Memory:
    """What a process and all that it started and that still run hold."""
    rss = pss = count = 0
    for process in processes(pid):
        try:
            found = process.memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        rss, pss, count = rss + found.rss, pss + getattr(found, "pss", 0), count + 1
    return Memory(rss, pss, count)


def cpu_seconds(pid: int) -> float:
    """CPU time of a process and all that it started and that still run."""
    total = 0.0
    for process in processes(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


def describe_company(cores: float) -> dict[str, Any]:
    """What others did, for the results' file, with a verdict."""
    return {"cores": round(cores, 3), "alone": cores < 0.1}


def machine_seconds() -> float:
    """CPU time that the whole machine has spent on anything."""
    times = psutil.cpu_times()
    return float(sum(times[:]) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or "unknown processor"
