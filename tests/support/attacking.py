"""Attacks on the tiny bundle, whose outcome is known by hand, and one that nobody has the time for."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from support.tiny import SIZE

from holdfast.attacks import PGDParameters
from holdfast.attacks.parameters import AttackParameters
from holdfast.bundle import Bundle
from serving.attacking.base import Order

#: Reddish: the logits are (6, 5.8, 0), so that a change of 0.01 of both channels makes it green.
PIXEL = (0.6, 0.58, 0.0)
#: 20 steps at most, of which the first few fool the model.
SHORT = PGDParameters(epsilon=0.03, steps=20, random_start=False)
#: Ten million steps within a budget in which nothing fools the model.
ENDLESS = PGDParameters(epsilon=0.001, steps=10_000, restarts=1_000, stop_at_success=False)

_PATIENCE = 20.0


def reddish(count: int = 1) -> np.ndarray:
    """Images of that colour, (count, 3, 8, 8)."""
    image = np.empty((3, SIZE, SIZE), dtype=np.float32)
    image[:] = np.asarray(PIXEL, dtype=np.float32)[:, None, None]
    return np.stack([image] * count)


def order(bundle: Bundle, parameters: AttackParameters = SHORT, **others: object) -> Order:
    """An attack on one reddish image."""
    return Order(bundle, "none", parameters, reddish(), **others)  # type: ignore[arg-type]


def soon(seconds: float = _PATIENCE) -> float:
    """A deadline."""
    return time.monotonic() + seconds


def gone(pid: int) -> bool:
    """Whether there is no such process any more, or nothing of it but its exit status."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
                if int(parent) == pid:
                    found.append(int(entry.name))
    return found


def wait_gone(pids: Sequence[int]) -> None:
    """Wait until none of the processes is there; fail if one stays."""
    end = time.monotonic() + _PATIENCE
    while not all(map(gone, pids)):
        if time.monotonic() > end:
            raise AssertionError(f"of {pids}, some are still there; this is {os.getpid()}")
        time.sleep(0.02)
