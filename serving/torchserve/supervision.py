"""Starting TorchServe again when it ends by itself.

TorchServe replaces a Python worker that dies; nobody replaces Java. What hangs and does not end is left:
whoever stopped it may want it to go on, and the gateway lets nobody wait for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from holdfast.errors import HoldfastError
from serving.torchserve.errors import TorchServeError
from serving.torchserve.launch import TorchServe

#: Seconds before the first start anew; each one in a row waits twice as long, up to the second figure.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
#: Seconds after which a TorchServe that runs is one that works: what ends it later is another matter.
STABLE = 60.0
#: Seconds between two looks at the process.
_INTERVAL = 0.25


def supervise(
    server: TorchServe,
    stopped: Callable[[], bool],
    *,
    restarts: int,
    report: Callable[[str], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Watch a TorchServe that runs until it shall stop; where it ends by itself, start it again.

    Args:
        server: It has been started.
        stopped: Asked between two looks whether it shall stop.
        restarts: How often in a row it is started again.
        report: Told, in a sentence, what has happened.
        clock: Seconds, of ``time.monotonic()``.
        sleep: Waits so many seconds.

    Raises:
        TorchServeError: It has ended once more than that.
    """
    in_a_row = 0
    ready_since: float | None = clock()
    while not stopped():
        try:
            server.check()
        except TorchServeError as error:
            worked = ready_since is not None and clock() - ready_since >= STABLE
            in_a_row = 1 if worked else in_a_row + 1
            if in_a_row > restarts:
                raise
            pause = min(FIRST_PAUSE * 2 ** (in_a_row - 1), LONGEST_PAUSE)
            report(f"{error.message}\nStarting it again in {pause:g} s ({in_a_row} of {restarts} in a row).")
            if _wait(pause, stopped, clock, sleep):
                return
            ready_since = _start_again(server, stopped, report, clock)
        else:
            sleep(_INTERVAL)


def _start_again(
    server: TorchServe,
    stopped: Callable[[], bool],
    report: Callable[[str], None],
    clock: Callable[[], float],
) -> float | None:
    """Start it; when it was ready, or ``None`` if it never was, in which case nothing is left of it."""
    try:
        server.stop()
        server.start()
        server.wait_ready(stopped)
    except HoldfastError as error:
        report(f"{error.message} {error.hint}".strip())
        server.stop()
        return None
    if not stopped():
        report(f"TorchServe is ready again on {server.url}.")
    return clock()


def _wait(
    seconds: float, stopped: Callable[[], bool], clock: Callable[[], float], sleep: Callable[[float], None]
) -> bool:
    """Wait, unless it shall stop; whether it shall."""
    until = clock() + seconds
    while not stopped() and clock() < until:
        sleep(_INTERVAL)
    return stopped()
