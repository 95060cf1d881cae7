"""Ctrl-C during an attack: it ends between two calls of the model, and what is finished is kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class InterruptedAttack(Exception):  # noqa: N818 - it is no error
    """The user wants it to stop."""


class Interrupt:
    """Whether the user has asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def check(self) -> None:
        """Called between two calls of the model.

        Raises:
            InterruptedAttack: The user has asked to stop.
        """
        if self.asked:
            raise InterruptedAttack


@contextmanager
def listening() -> Iterator[Interrupt]:
    """Take Ctrl-C as a wish to stop soon; a second one stops at once, as ever."""
    interrupt = Interrupt()
    before = signal.getsignal(signal.SIGINT)
    # Only the main thread may listen, and who was started deaf to Ctrl-C stays so.
    if threading.current_thread() is not threading.main_thread() or before in (signal.SIG_IGN, None):
        yield interrupt
        return

    def ask(number: int, frame: FrameType | None) -> None:
        del number, frame
        interrupt.asked = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, ask)
    try:
        yield interrupt
    finally:
        signal.signal(signal.SIGINT, before)
