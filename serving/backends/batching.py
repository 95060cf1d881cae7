"""Dynamic batching in this process: requests that wait together run together.

An idle worker takes what is there at once, so a lone request is never held back to wait for company. Batches
form while every worker is busy: what queues up in the meantime is the next batch. ``max_delay`` may stretch
that, and only that: a worker that has just finished a batch and finds fewer images than fit may wait for
more, until the oldest of them has waited ``max_delay``.

Who owns what: the queue and every counter belong to the :class:`Batcher` and are touched under its lock; a
future belongs to the event loop and is settled there; a worker thread owns a batch from the moment it takes
it until the model is done with it. A caller that goes away, or runs out of time, gives back the places that
its images have in the queue, but not a worker that runs them: that is free when the work is over.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from serving.backends.base import (
    BackendError,
    DeadlineExceededError,
    InferenceError,
    OverloadedError,
    Timings,
    UnavailableError,
)

logger = logging.getLogger(__name__)

Lane = TypeVar("Lane", bound=Hashable)

#: What a model answers for a batch: arrays whose first axis is the batch.
Outputs = tuple[NDArray[Any], ...]

#: How much the latest batch moves the estimate of what one image takes.
_PACE_WEIGHT = 0.2


@dataclass(frozen=True, slots=True)
class Answer:
    """The outputs for one caller's images, in their order, and where the time went."""

    outputs: Outputs
    timings: Timings


@dataclass(slots=True, eq=False)
class _Ticket:
    """Images of one caller that run in one batch, and the caller's future."""

    images: NDArray[np.float32]
    future: asyncio.Future[Answer]
    queued: float


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What a worker found for a ticket."""

    ticket: _Ticket
    answer: Answer | None
    error: BackendError | None


class Batcher(Generic[Lane]):
    """Runs images of many callers through a model, together where they wait together.

    A lane is what can share a batch: one graph of one model. All lanes share the queue's bound and the
    workers; the lane whose head has waited longest goes next, so no model starves another.

    Args:
        run: Called in a worker thread with a lane and float32 images (n, …), n <= ``max_batch``; returns
            arrays with n rows. Calls run at the same time when there are several workers.
        max_batch: The most images in one batch.
        max_queue: The most images that may wait, over all lanes.
        max_delay: Seconds that a busy worker may hold back a batch that is not full.
        workers: Batches that run at the same time.
    """

    def __init__(
        self,
        run: Callable[[Lane, NDArray[np.float32]], Outputs],
        *,
        max_batch: int,
        max_queue: int,
        max_delay: float = 0.0,
        workers: int = 1,
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_queue = max_queue
        self._max_delay = max_delay
        self._lanes: dict[Lane, deque[_Ticket]] = {}
        self._waiting = 0
        self._running = 0
        self._pace = 0.0
        self._closed = False
        self._changed = threading.Condition()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True)
            for number in range(workers)
        ]

    @property
    def waiting(self) -> int:
        """Images in the queue."""
        return self._waiting

    @property
    def running(self) -> int:
        """Images that a worker is busy with."""
        return self._running

    def start(self) -> None:
        """Start the workers; answers go to the event loop that calls this."""
        self._loop = asyncio.get_running_loop()
        for thread in self._threads:
            thread.start()

    async def close(self) -> None:
        """Refuse what is queued and wait for what is running."""
        with self._changed:
            self._closed = True
            dropped = [ticket for lane in self._lanes.values() for ticket in lane]
            self._lanes.clear()
            self._waiting = 0
            self._changed.notify_all()
        _settle([_Verdict(ticket, None, _closing()) for ticket in dropped])
        for thread in self._threads:
            if thread.is_alive():
                await asyncio.to_thread(thread.join)

    async def submit(
        self, lane: Lane, images: NDArray[np.float32], *, deadline: float | None = None
    ) -> Answer:
        """Run images, in as many batches as they need.

        Args:
            lane: What to run them through.
            images: float32 (n, …), n >= 1.
            deadline: When the answer is of no more use, on the clock of ``time.monotonic()``.

        Raises:
            OverloadedError: They do not fit into the queue, or would not be answered before the deadline,
                by what images took of late.
            DeadlineExceededError: The deadline passed. What is still queued then is dropped.
            UnavailableError: The batcher is closed.
            InferenceError: ``run`` failed on these images.
        """
        now = time.monotonic()
        if deadline is not None and deadline <= now:
            raise _too_late()
        tickets = self._enqueue(lane, images, now, deadline)
        futures = [ticket.future for ticket in tickets]
        try:
            async with asyncio.timeout(None if deadline is None else deadline - now):
                if len(futures) == 1:
                    return await futures[0]
                return _join(await asyncio.gather(*futures))
        except TimeoutError:
            raise _too_late() from None
        finally:
            if not all(future.done() and not future.cancelled() for future in futures):
                self._withdraw(lane, tickets)

    def _enqueue(
        self, lane: Lane, images: NDArray[np.float32], now: float, deadline: float | None
    ) -> list[_Ticket]:
        loop = asyncio.get_running_loop()
        pieces = [images[start : start + self._max_batch] for start in range(0, len(images), self._max_batch)]
        tickets = [_Ticket(piece, loop.create_future(), now) for piece in pieces]
        with self._changed:
            if self._closed:
                raise _closing()
            if self._waiting + len(images) > self._max_queue:
                raise self._overloaded(len(images))
            # Whoever finds nobody waiting is let in, whatever the pace: a pace that is wrong is only put
            # right by a batch that is run.
            if deadline is not None and self._waiting:
                late = now + self._seconds_for(self._waiting + self._running + len(images)) - deadline
                if late > 0:
                    raise _no_time(late)
            self._lanes.setdefault(lane, deque()).extend(tickets)
            self._waiting += len(images)
            self._changed.notify_all()
        return tickets

    def _seconds_for(self, images: int) -> float:
        """What so many images should take all workers together, by what images took of late."""
        return images * self._pace / len(self._threads)

    def _overloaded(self, images: int) -> OverloadedError:
        if images > self._max_queue:
            return OverloadedError(
                f"{images} images at once are more than the {self._max_queue} that may wait.",
                hint="Send them in smaller requests.",
            )
        return OverloadedError(
            "The model is busy and its queue is full.",
            hint="Try again shortly, with fewer requests at once.",
            retry_after=self._seconds_for(self._waiting),
        )

    def _withdraw(self, lane: Lane, tickets: Sequence[_Ticket]) -> None:
        """Give back the places of those tickets that no worker has taken."""
        with self._changed:
            queue = self._lanes.get(lane)
            for ticket in tickets:
                ticket.future.cancel()
                if queue and ticket in queue:
                    queue.remove(ticket)
                    self._waiting -= len(ticket.images)
            if queue is not None and not queue:
                del self._lanes[lane]

    def _work(self) -> None:
        """A worker's life."""
        idle = True
        while (batch := self._take(idle)) is not None:
            lane, tickets = batch
            images = sum(len(ticket.images) for ticket in tickets)
            started = time.monotonic()
            verdicts = self._infer(lane, tickets)
            elapsed = time.monotonic() - started
            with self._changed:
                self._running -= images
                # Asked before anybody has an answer: the next request of a lone caller finds an idle worker.
                idle = not self._lanes
                pace = elapsed / images
                self._pace += (pace - self._pace) * (_PACE_WEIGHT if self._pace else 1.0)
            self._deliver(verdicts)

    def _take(self, idle: bool) -> tuple[Lane, list[_Ticket]] | None:
        """Wait for work and take a batch of it, at once if ``idle``; ``None`` when the batcher is closed."""
        with self._changed:
            while not self._closed:
                if not self._lanes:
                    idle = True
                    self._changed.wait()
                    continue
                patience = {
                    lane: 0.0 if idle else self._patience(queue) for lane, queue in self._lanes.items()
                }
                ripe = [lane for lane, seconds in patience.items() if seconds <= 0]
                if not ripe:
                    self._changed.wait(min(patience.values()))
                    continue
                lane = min(ripe, key=lambda lane: self._lanes[lane][0].queued)
                return lane, self._pop(lane)
        return None

    def _patience(self, queue: deque[_Ticket]) -> float:
        """How much longer a batch from this lane may be held back for more to come."""
        if not self._max_delay or sum(len(ticket.images) for ticket in queue) >= self._max_batch:
            return 0.0
        return queue[0].queued + self._max_delay - time.monotonic()

    def _pop(self, lane: Lane) -> list[_Ticket]:
        queue = self._lanes[lane]
        tickets = [queue.popleft()]
        images = len(tickets[0].images)
        while queue and images + len(queue[0].images) <= self._max_batch:
            tickets.append(queue.popleft())
            images += len(tickets[-1].images)
        if not queue:
            del self._lanes[lane]
        self._waiting -= images
        self._running += images
        return tickets

    def _infer(self, lane: Lane, tickets: list[_Ticket]) -> list[_Verdict]:
        """Run a batch. Where it fails, run each caller's images alone, so that only the cause fails."""
        started = time.monotonic()
        images = tickets[0].images
        if len(tickets) > 1:
            images = np.concatenate([ticket.images for ticket in tickets])
        try:
            outputs = self._run(lane, images)
            if any(len(output) != len(images) for output in outputs):
                raise ValueError(f"the model answered {[o.shape for o in outputs]} for {len(images)} images")
        except BackendError as error:
            failure = error
        except Exception:
            logger.exception("Inference failed on a batch of %d", len(images))
            failure = InferenceError("The model failed on this input.")
        else:
            return _share(tickets, outputs, started, time.monotonic())
        if len(tickets) == 1:
            return [_Verdict(tickets[0], None, failure)]
        return [verdict for ticket in tickets for verdict in self._infer(lane, [ticket])]

    def _deliver(self, verdicts: list[_Verdict]) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_settle, verdicts)


def _share(tickets: list[_Ticket], outputs: Outputs, started: float, finished: float) -> list[_Verdict]:
    """Give each ticket its rows of the outputs."""
    size = sum(len(ticket.images) for ticket in tickets)
    verdicts = []
    start = 0
    for ticket in tickets:
        end = start + len(ticket.images)
        timings = Timings(started - ticket.queued, finished - started, size)
        verdicts.append(
            _Verdict(ticket, Answer(tuple(output[start:end] for output in outputs), timings), None)
        )
        start = end
    return verdicts


def _settle(verdicts: list[_Verdict]) -> None:
    """Answer the callers that are still there."""
    for verdict in verdicts:
        future = verdict.ticket.future
        if future.done():
            continue
        if verdict.answer is not None:
            future.set_result(verdict.answer)
        elif verdict.error is not None:
            future.set_exception(verdict.error)


def _join(answers: list[Answer]) -> Answer:
    """One answer out of the answers for the pieces of a large request."""
    outputs = tuple(np.concatenate(parts) for parts in zip(*(a.outputs for a in answers), strict=True))
    ends = [answer.timings.queue + answer.timings.inference for answer in answers]
    queue = min(answer.timings.queue for answer in answers)
    size = max(answer.timings.batch_size for answer in answers)
    return Answer(outputs, Timings(queue, max(ends) - queue, size))


def _no_time(late: float) -> OverloadedError:
    return OverloadedError(
        "The images that wait already would take longer than this request has.",
        hint="Try again shortly, with fewer requests at once.",
        retry_after=late,
    )


def _too_late() -> DeadlineExceededError:
    return DeadlineExceededError(
        "The time for this request ran out before the model came to an answer.",
        hint="Try again when there is less load, or with fewer images.",
    )


def _closing() -> UnavailableError:
    return UnavailableError("The server is shutting down.", hint="Try again on another instance.")
