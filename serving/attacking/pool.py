"""Attacks in worker processes of their own, so that classification goes on meanwhile.

Who owns what: a slot stands for one worker at work, and belongs to a task of the pool from the moment it is
taken until the worker is idle again or dead, whatever became of the caller. An idle worker belongs to the
pool. Workers start with the first attack that needs one, and stay.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass, field

from holdfast.attacking.cost import Speed
from holdfast.attacking.execution import Attacked
from holdfast.bundle import Bundle
from holdfast.manifest import Defence
from serving.attacking.base import AttackerLostError, Carried, NotApplicableError, Order
from serving.attacking.messages import Attack, Failure, Job, Measure, ModelKey
from serving.attacking.process import Outcome, WorkerProcess, WorkerSettings
from serving.backends.base import (
    DeadlineExceededError,
    InferenceError,
    OverloadedError,
    UnavailableError,
)
from serving.backends.cores import count_cores

logger = logging.getLogger(__name__)

#: Seconds for a model to be opened and measured.
_MEASURING = 60.0


@dataclass
class _Run:
    """One job on its way.

    Attributes:
        job: What is to be done.
        expected: Seconds that it takes at most.
        stop: Set when nobody wants it any more.
        done: Steps done, and in all, when it was last heard of.
    """

    job: Job
    expected: float
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    done: tuple[int, int] | None = None

    def report(self, done: int, total: int) -> None:
        """Hear of its progress."""
        self.done = done, total


class AttackPool:
    """Carries out attacks in processes of its own; see :class:`serving.attacking.base.Attacker`.

    Args:
        workers: Processes; 0 takes one for every two cores, and one at least.
        settings: What each may use.
        queue: Attacks that may wait when all are at work.
        grace: Seconds for an attack to stop between two steps, before its process is killed.
    """

    def __init__(
        self,
        *,
        workers: int = 0,
        settings: WorkerSettings | None = None,
        queue: int = 16,
        grace: float = 5.0,
    ) -> None:
        self.workers = workers or max(1, count_cores() // 2)
        self._settings = settings or WorkerSettings()
        self._queue = queue
        self._grace = grace
        self._slots = asyncio.Semaphore(self.workers)
        self._idle: list[WorkerProcess] = []
        self._busy: set[WorkerProcess] = set()
        self._tasks: set[asyncio.Task[Outcome]] = set()
        self._speeds: dict[ModelKey, asyncio.Task[Speed]] = {}
        self._waiting = 0
        self._backlog = 0.0
        self._closed = False

    @property
    def waiting(self) -> int:
        """Attacks that wait for their turn."""
        return self._waiting

    @property
    def running(self) -> int:
        """Workers at work, for somebody or nobody."""
        return len(self._tasks)

    @property
    def pids(self) -> list[int]:
        """The workers' process ids."""
        return sorted(worker.pid for worker in (*self._idle, *self._busy) if worker.alive)

    async def close(self) -> None:
        """See :meth:`serving.attacking.base.Attacker.close`."""
        self._closed = True
        for speed in self._speeds.values():
            speed.cancel()
        for worker in (*self._idle, *self._busy):
            worker.kill()
        if self._tasks:
            await asyncio.wait(set(self._tasks))
        for worker in self._idle:
            await worker.close()
        self._idle.clear()

    async def speed(self, bundle: Bundle, defence: Defence, *, deadline: float) -> Speed:
        """See :meth:`serving.attacking.base.Attacker.speed`."""
        key = _key(bundle, defence)
        if key not in self._speeds:
            self._speeds[key] = asyncio.create_task(self._measure(key))
            self._speeds[key].add_done_callback(lambda task: self._forget_failure(key, task))
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await asyncio.shield(self._speeds[key])
        except TimeoutError:
            raise DeadlineExceededError(
                "The time for this request ran out while the model was opened for attacks."
            ) from None

    async def attack(self, order: Order, *, deadline: float) -> Carried:
        """See :meth:`serving.attacking.base.Attacker.attack`."""
        key = _key(order.bundle, order.defence)
        job = Attack(key, order.parameters, order.images, order.labels, order.trace)
        return await self._run(_Run(job, order.expected), deadline)

    async def _measure(self, key: ModelKey) -> Speed:
        carried = await self._take_turn(_Run(Measure(key), 1.0), time.monotonic() + _MEASURING)
        if not isinstance(carried[0], Speed):
            raise TypeError(f"a measurement ended in {type(carried[0]).__name__}")
        return carried[0]

    def _forget_failure(self, key: ModelKey, task: asyncio.Task[Speed]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._speeds.pop(key, None)

    async def _run(self, run: _Run, deadline: float) -> Carried:
        called = time.monotonic()
        outcome, began = await self._take_turn(run, deadline)
        if not isinstance(outcome, Attacked):
            raise TypeError(f"an attack ended in {type(outcome).__name__}")
        return Carried(outcome, queue=began - called, seconds=time.monotonic() - began)

    async def _take_turn(self, run: _Run, deadline: float) -> tuple[Speed | Attacked, float]:
        """Wait for a slot and have the job done in it; what was found, and when it began."""
        if self._closed:
            raise _closing()
        if self._slots.locked() and self._waiting >= self._queue:
            raise OverloadedError(
                f"{self._waiting} attacks wait already, and no more may.",
                hint="Try again later.",
                retry_after=self._backlog / self.workers,
            )
        await self._enter(run, deadline)
        began = time.monotonic()
        task = asyncio.create_task(self._occupy(run))
        self._tasks.add(task)
        task.add_done_callback(self._leave)
        try:
            async with asyncio.timeout(deadline - began):
                outcome = await asyncio.shield(task)
        except TimeoutError:
            raise DeadlineExceededError(
                f"The time for this request ran out during the attack{_how_far(run)}; it was stopped.",
                hint="Ask for fewer steps, or make it a job: POST /v1/jobs.",
            ) from None
        finally:
            run.stop.set()
        if isinstance(outcome, Failure):
            raise _error(outcome, run.job)
        return outcome, began

    async def _enter(self, run: _Run, deadline: float) -> None:
        """Wait for a slot."""
        self._waiting += 1
        self._backlog += run.expected
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await self._slots.acquire()
        except BaseException as error:
            self._backlog -= run.expected
            if isinstance(error, TimeoutError):
                raise DeadlineExceededError(
                    "The time for this request ran out before the attack had its turn.",
                    hint="Try again when there is less load.",
                ) from None
            raise
        finally:
            self._waiting -= 1

    def _leave(self, task: asyncio.Task[Outcome]) -> None:
        """The work is over: the slot is free. Its caller, if there still is one, asks what became of it."""
        self._tasks.discard(task)
        self._slots.release()
        if not task.cancelled():
            task.exception()

    async def _occupy(self, run: _Run) -> Outcome:
        """Hold a worker until it is done with a job, or stopped."""
        worker: WorkerProcess | None = None
        try:
            worker = await self._find_worker(run.job.model)
            return await self._work(worker, run)
        finally:
            self._backlog -= run.expected
            if worker is not None:
                self._busy.discard(worker)
                if worker.alive and not self._closed:
                    self._idle.append(worker)
                else:
                    await worker.close()

    async def _find_worker(self, model: ModelKey) -> WorkerProcess:
        """An idle worker, one that has the model open before any other; or a new one."""
        self._idle = [worker for worker in self._idle if worker.alive]
        knowing = [worker for worker in self._idle if model in worker.models[-self._settings.models :]]
        worker = next(iter(knowing or self._idle), None)
        if worker is not None:
            self._idle.remove(worker)
        else:
            try:
                worker = await WorkerProcess.start(self._settings)
            except OSError as error:
                logger.exception("No process can be started for attacks")
                raise UnavailableError("The server has no process for the attack at the moment.") from error
            logger.info("Started attack worker %d", worker.pid)
        self._busy.add(worker)
        if self._closed:
            raise _closing()
        return worker

    async def _work(self, worker: WorkerProcess, run: _Run) -> Outcome:
        answer = asyncio.create_task(worker.do(run.job, run.report))
        stop = asyncio.create_task(run.stop.wait())
        try:
            await asyncio.wait({answer, stop}, return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                worker.cancel()
                await asyncio.wait({answer}, timeout=self._grace)
            if not answer.done():
                logger.warning(
                    "Attack worker %d did not stop within %g s and is killed", worker.pid, self._grace
                )
                worker.kill()
            return await answer
        except AttackerLostError as error:
            if not run.stop.is_set() and not self._closed:
                logger.error("Attack worker %d is lost: %s", worker.pid, error.message)  # noqa: TRY400
            raise
        finally:
            stop.cancel()
            with suppress(asyncio.CancelledError):
                await stop


def _key(bundle: Bundle, defence: Defence) -> ModelKey:
    return ModelKey(bundle.root.absolute(), bundle.manifest.digest, defence)


def _how_far(run: _Run) -> str:
    return "" if run.done is None else f", after {run.done[0]:,} of {run.done[1]:,} steps"


def _error(failure: Failure, job: Job) -> Exception:
    """What a worker's failure is for the caller; what is none of theirs is logged."""
    if failure.kind == "not-applicable":
        return NotApplicableError(failure.message)
    if failure.kind == "stopped":
        return _closing()
    if failure.kind == "bundle":
        logger.error("%s cannot be attacked: %s", job.model.root, failure.detail)
        return UnavailableError(failure.message)
    if failure.kind == "unforeseen":
        logger.error("An attack failed unforeseen:\n%s", failure.detail)
    return InferenceError(failure.message)


def _closing() -> UnavailableError:
    return UnavailableError("The server is shutting down.", hint="Try again on another instance.")
