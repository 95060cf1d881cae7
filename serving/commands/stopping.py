"""SIGTERM, before a command that runs until one comes is ready to take it."""

from __future__ import annotations

import signal
import sys
from types import FrameType


def end_when_told() -> None:
    """End with status 0 at SIGTERM, until the command itself takes care of it.

    The first process of a container has no default for signals: one that comes before there is a handler is
    lost, and whoever sent it waits until there is patience for SIGKILL only.
    """
    signal.signal(signal.SIGTERM, _end)


def _end(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)
