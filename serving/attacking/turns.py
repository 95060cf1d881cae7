"""Who may be attacked now, who waits, and who is refused.

A slot belongs to the work from the moment that it begins until it has stopped, whatever became of the caller:
one that goes, or whose time is over, asks the work to stop and does not wait for it.

Work whose turn would come too late is refused at once: were it let in, then under more load than the slots
can bear all work would begin with too little time left, and none of it would come to its end.
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


#: How much the latest piece of work moves the estimate of what work takes of its price.
_SHARE_WEIGHT = 0.2


class _Share:
    """What work takes, on the average, of the seconds that it is said to take at most.

    Attacks are priced at their most, and one that fools the model early takes a small part of that; on a busy
    machine, or where a process has to be started first, they take more. The average is of the seconds, not of
    the ratios, so that a short piece of work, of which the start is the most, says little about long ones.
    """

    def __init__(self) -> None:
        # One second that took one second: what is to be believed until something is known.
        self._taken = self._priced = 1.0

    @property
    def value(self) -> float:
        """The seconds that work took, in proportion to its price; 1 where nothing is known."""
        return self._taken / self._priced

    def learn(self, taken: float, priced: float, *, whole: bool) -> None:
        """Note what a piece of work took, in seconds.

        Args:
            taken: What it took.
            priced: What it was said to take at most.
            whole: Whether it came to its end by itself. What was stopped would have taken longer, and says
                something only where it took more than its share already.
        """
        if priced <= 0 or not (whole or taken > self.value * priced):
            return
        self._taken += (taken - self._taken) * _SHARE_WEIGHT
        self._priced += (priced - self._priced) * _SHARE_WEIGHT

    def left(self, priced: float, spent: float) -> float:
        """Seconds that a piece of work should still take which has taken so many already."""
        # Work that is over its share is in all likelihood of the kind that takes it all: what is left goes
        # down to nothing only when it has taken the most that it may.
        return min(1.0, self.value) * max(0.0, max(1.0, self.value) * priced - spent)


@dataclass(eq=False)
class _Piece:
    """Work that was let in.

    Attributes:
        expected: Its price, in seconds.
        deadline: When it is stopped, on the clock of ``time.monotonic()``, or earlier if nobody wants it.
        began: When it began, if it did.
    """

    expected: float
    deadline: float
    began: float | None = None


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
        #: All that waits and runs, and is wanted.
        self._pieces: set[_Piece] = set()
        self._share = _Share()
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
            expected: Seconds that it takes at most. What work really takes of this is learnt; by it, work
                that would not be done in time is refused, and told when to come back.
            deadline: When nobody wants it any more, on the clock of ``time.monotonic()``.
            how_far: Words on how far the work is, for whoever is told that it was stopped.
            waits: Where it has to wait, called with how many have to end before it begins, whenever that
                changes, and with 0 when it begins.

        Raises:
            OverloadedError: Too many wait, or what is before it would take so long that it would not be done
                before the deadline.
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
                retry_after=self._backlog(called) / self.slots,
            )
        # Where a slot is free the work begins, whatever is believed of it: a share that is wrong is only put
        # right by work that is done.
        if self._free.locked():
            ends = called + self._backlog(called) / self.slots + self._share.left(expected, 0.0)
            if ends > deadline:
                raise OverloadedError(
                    "This attack, and those before it, would take longer than the request has.",
                    hint="Try again later, or make it a job: POST /v1/jobs.",
                    retry_after=ends - deadline,
                )
        piece = _Piece(expected, deadline)
        await self._enter(piece, deadline, waits)
        piece.began = began = time.monotonic()
        stop = asyncio.Event()
        task = asyncio.create_task(self._occupy(work, stop, piece))
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
            self._pieces.discard(piece)  # it may still take a moment to stop, but not what it was priced at
        return Turn(found, began - called, time.monotonic() - began)

    def _backlog(self, now: float) -> float:
        """Seconds that one slot should still take for all that waits and runs and is wanted."""
        return sum(
            min(
                self._share.left(piece.expected, 0.0 if piece.began is None else now - piece.began),
                max(0.0, piece.deadline - now),
            )
            for piece in self._pieces
        )

    async def _enter(self, piece: _Piece, deadline: float, waits: Callable[[int], None] | None) -> None:
        """Wait for a slot."""
        self.waiting += 1
        self._pieces.add(piece)
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                with self._in_line(waits or _ignore):
                    await self._free.acquire()
        except BaseException as error:
            self._pieces.discard(piece)
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

    async def _occupy(self, work: Work[Found], stop: asyncio.Event, piece: _Piece) -> Found:
        whole = False
        began = time.monotonic()
        try:
            if self._closed:
                raise closing()
            found = await work(stop)
            whole = not stop.is_set()
        finally:
            self._share.learn(time.monotonic() - began, piece.expected, whole=whole)
        return found

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
