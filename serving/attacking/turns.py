"""Who may be attacked now, who waits, and who is refused.

A slot belongs to the work from the moment that it begins until it has stopped, whatever became of the caller:
one that goes, or whose time is over, asks the work to stop and does not wait for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from serving.backends.base import DeadlineExceededError, OverloadedError, UnavailableError

Found = TypeVar("Found")

#: Work that ends soon once its event is set.
Work = Callable[[asyncio.Event], Coroutine[Any, Any, Found]]


@dataclass(frozen=True)
class Turn(Generic[Found]):
    """Work that was done.

    Attributes:
        found: What came of it.
        queue: Seconds that it waited.
        seconds: Seconds that it took.
    """

    found: Found
    queue: float
    seconds: float


class Turns:
    """Slots for work, and a queue in front of them. Touched from the event loop only.

    Args:
        slots: Pieces of work that are done at the same time.
        queue: Pieces of work that may wait.
    """

    def __init__(self, slots: int, queue: int) -> None:
        self.slots = slots
        self.waiting = 0
        self._queue = queue
        self._free = asyncio.Semaphore(slots)
        #: Who waits, in order, and is told so where it wants to be.
        self._line: list[Callable[[int], None]] = []
        self._tasks: set[asyncio.Task[Any]] = set()
        self._backlog = 0.0
        self._closed = False

    @property
    def running(self) -> int:
        """Pieces of work that are being done, for somebody or nobody."""
        return len(self._tasks)

    def close(self) -> None:
        """Refuse what comes from now on, and what waits when its turn comes."""
        self._closed = True

    def cancel(self) -> None:
        """Break off what is being done."""
        for task in self._tasks:
            task.cancel()

    async def finished(self) -> None:
        """Wait until nothing is being done."""
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    async def take(
        self,
        work: Work[Found],
        *,
        expected: float,
        deadline: float,
        how_far: Callable[[], str] = str,
        waits: Callable[[int], None] | None = None,
    ) -> Turn[Found]:
        """Do a piece of work when it is its turn.

        Args:
            work: What to do; it is given an event that is set when nobody wants it any more.
            expected: Seconds that it takes at most, for whoever is told when to come back.
            deadline: When nobody wants it any more, on the clock of ``time.monotonic()``.
            how_far: Words on how far the work is, for whoever is told that it was stopped.
            waits: Where it has to wait, called with how many have to end before it begins, whenever that
                changes, and with 0 when it begins.

        Raises:
            OverloadedError: Too many wait.
            DeadlineExceededError: The deadline passed, before it began or during it.
            UnavailableError: No more is done here.
        """
        called = time.monotonic()
        if self._closed:
            raise closing()
        if self._free.locked() and self.waiting >= self._queue:
            raise OverloadedError(
                f"{self.waiting} attacks wait already, and no more may.",
                hint="Try again later.",
                retry_after=self._backlog / self.slots,
            )
        await self._enter(expected, deadline, waits)
        began = time.monotonic()
        stop = asyncio.Event()
        task = asyncio.create_task(self._occupy(work, stop, expected))
        self._tasks.add(task)
        task.add_done_callback(self._leave)
        try:
            async with asyncio.timeout(deadline - began):
                found = await asyncio.shield(task)
        except TimeoutError:
            raise DeadlineExceededError(
                f"The time for this request ran out during the attack{how_far()}; it was stopped.",
                hint="Ask for fewer steps, or make it a job: POST /v1/jobs.",
            ) from None
        finally:
            stop.set()
        return Turn(found, began - called, time.monotonic() - began)

    async def _enter(self, expected: float, deadline: float, waits: Callable[[int], None] | None) -> None:
        """Wait for a slot."""
        self.waiting += 1
        self._backlog += expected
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                with self._in_line(waits or _ignore):
                    await self._free.acquire()
        except BaseException as error:
            self._backlog -= expected
            if isinstance(error, TimeoutError):
                raise DeadlineExceededError(
                    "The time for this request ran out before the attack had its turn.",
                    hint="Try again when there is less load.",
                ) from None
            raise
        finally:
            self.waiting -= 1

    @contextmanager
    def _in_line(self, waits: Callable[[int], None]) -> Iterator[None]:
        """Stand in line, where there is one; who stands there hears of whoever leaves it."""
        if not self._free.locked():
            yield
            return
        place = partial(waits)  # its own, even where several are told by one function
        self._line.append(place)
        place(len(self._line))
        try:
            yield
        except BaseException:
            self._step_out(place)
            raise
        self._step_out(place)
        waits(0)

    def _step_out(self, place: Callable[[int], None]) -> None:
        left = next(index for index, each in enumerate(self._line) if each is place)
        del self._line[left]
        for before, each in enumerate(self._line[left:], left + 1):
            each(before)

    async def _occupy(self, work: Work[Found], stop: asyncio.Event, expected: float) -> Found:
        try:
            if self._closed:
                raise closing()
            return await work(stop)
        finally:
            self._backlog -= expected

    def _leave(self, task: asyncio.Task[Any]) -> None:
        """The work is over: the slot is free. Its caller, if there still is one, asks what became of it."""
        self._tasks.discard(task)
        self._free.release()
        if not task.cancelled():
            task.exception()


def _ignore(before: int) -> None:
    """Nobody wants to know."""


def closing() -> UnavailableError:
    """Why nothing is begun any more."""
    return UnavailableError("The server is shutting down.", hint="Try again on another instance.")
