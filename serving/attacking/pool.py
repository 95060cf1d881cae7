"""Attacks in worker processes of their own, so that classification goes on meanwhile.

Who owns what: a slot stands for one worker at work (:mod:`serving.attacking.turns`), and a busy worker
belongs to the task that holds the slot, until it is idle again or dead. An idle worker belongs to the pool.
Workers start with the first attack that needs one, and stay.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass

from holdfast.attacking.cost import Speed
from holdfast.attacking.execution import Attacked
from holdfast.bundle import Bundle
from holdfast.manifest import Defence
from serving.attacking.base import AttackerLostError, Carried, NotApplicableError, Order, Watcher
from serving.attacking.messages import Attack, Failure, Job, Measure, ModelKey
from serving.attacking.process import Outcome, WorkerProcess, WorkerSettings
from serving.attacking.speeds import Speeds
from serving.attacking.turns import Turn, Turns, closing
from serving.backends.base import InferenceError, UnavailableError
from serving.backends.cores import count_cores

logger = logging.getLogger(__name__)

#: Seconds for a model to be opened and measured.
_MEASURING = 60.0


@dataclass
class _Progress:
    """How far a job was, in steps, when it was last heard of."""

    watcher: Watcher | None = None
    began: float = 0.0
    steps: tuple[int, int] | None = None

    def __call__(self, done: int, total: int) -> None:
        self.steps = done, total
        if self.watcher is not None:
            self.watcher.advances(done, total, time.monotonic() - self.began)

    def __str__(self) -> str:
        return "" if self.steps is None else f", after {self.steps[0]:,} of {self.steps[1]:,} steps"


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
        self._settings = settings or WorkerSettings()
        self._grace = grace
        self._turns = Turns(workers or max(1, count_cores() // 2), queue)
        self._speeds = Speeds(self._measure)
        self._idle: list[WorkerProcess] = []
        self._busy: set[WorkerProcess] = set()
        self._closed = False

    @property
    def waiting(self) -> int:
        """Attacks that wait for their turn."""
        return self._turns.waiting

    @property
    def running(self) -> int:
        """Workers at work, for somebody or nobody."""
        return self._turns.running

    @property
    def pids(self) -> list[int]:
        """The workers' process ids."""
        return sorted(worker.pid for worker in (*self._idle, *self._busy) if worker.alive)

    async def close(self) -> None:
        """See :meth:`serving.attacking.base.Attacker.close`."""
        self._closed = True
        self._turns.close()
        self._speeds.close()
        for worker in (*self._idle, *self._busy):
            worker.kill()
        await self._turns.finished()
        for worker in self._idle:
            await worker.close()
        self._idle.clear()

    async def speed(self, bundle: Bundle, defence: Defence, *, deadline: float) -> Speed:
        """See :meth:`serving.attacking.base.Attacker.speed`."""
        return await self._speeds.get(bundle, defence, deadline=deadline)

    async def attack(self, order: Order, *, deadline: float, watcher: Watcher | None = None) -> Carried:
        """See :meth:`serving.attacking.base.Attacker.attack`."""
        job = Attack(
            _key(order.bundle, order.defence), order.parameters, order.images, order.labels, order.trace
        )
        turn = await self._take_turn(job, order.expected, deadline, watcher)
        if not isinstance(turn.found, Attacked):
            raise _error(turn.found, job)
        return Carried(turn.found, queue=turn.queue, seconds=turn.seconds)

    async def _measure(self, bundle: Bundle, defence: Defence) -> Speed:
        job = Measure(_key(bundle, defence))
        turn = await self._take_turn(job, 1.0, time.monotonic() + _MEASURING)
        if not isinstance(turn.found, Speed):
            raise _error(turn.found, job)
        return turn.found

    async def _take_turn(
        self, job: Job, expected: float, deadline: float, watcher: Watcher | None = None
    ) -> Turn[Outcome]:
        progress = _Progress(watcher)

        async def work(stop: asyncio.Event) -> Outcome:
            progress.began = time.monotonic()
            return await self._occupy(job, progress, stop)

        return await self._turns.take(
            work,
            expected=expected,
            deadline=deadline,
            how_far=lambda: str(progress),
            waits=None if watcher is None else watcher.waits,
        )

    async def _occupy(self, job: Job, progress: _Progress, stop: asyncio.Event) -> Outcome:
        """Hold a worker until it is done with a job, or stopped."""
        worker = await self._find_worker(job.model)
        self._busy.add(worker)
        try:
            if self._closed:
                raise closing()
            return await self._work(worker, job, progress, stop)
        finally:
            self._busy.discard(worker)
            if worker.alive and not self._closed:
                self._idle.append(worker)
            else:
                await worker.close()

    async def _find_worker(self, model: ModelKey) -> WorkerProcess:
        """An idle worker, one that has the model open before any other; or a new one."""
        self._idle = [worker for worker in self._idle if worker.alive]
        knowing = [worker for worker in self._idle if model in worker.models[-self._settings.models :]]
        for worker in knowing or self._idle:
            self._idle.remove(worker)
            return worker
        try:
            worker = await WorkerProcess.start(self._settings)
        except OSError as error:
            logger.exception("No process can be started for attacks")
            raise UnavailableError("The server has no process for the attack at the moment.") from error
        logger.info("Started attack worker %d", worker.pid)
        return worker

    async def _work(
        self, worker: WorkerProcess, job: Job, progress: _Progress, stop: asyncio.Event
    ) -> Outcome:
        answer = asyncio.create_task(worker.do(job, progress))
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({answer, stopping}, return_when=asyncio.FIRST_COMPLETED)
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
            if not stop.is_set() and not self._closed:
                logger.error("Attack worker %d is lost: %s", worker.pid, error.message)  # noqa: TRY400
            raise
        finally:
            stopping.cancel()
            with suppress(asyncio.CancelledError):
                await stopping


def _key(bundle: Bundle, defence: Defence) -> ModelKey:
    return ModelKey(bundle.root.absolute(), bundle.manifest.digest, defence)


def _error(outcome: Outcome, job: Job) -> Exception:
    """What a worker's failure is for the caller; what is none of theirs is logged."""
    if not isinstance(outcome, Failure):
        return TypeError(f"{type(job).__name__} ended in {type(outcome).__name__}")
    if outcome.kind == "not-applicable":
        return NotApplicableError(outcome.message)
    if outcome.kind == "stopped":
        return closing()
    if outcome.kind == "bundle":
        logger.error("%s cannot be attacked: %s", job.model.root, outcome.detail)
        return UnavailableError(outcome.message)
    if outcome.kind == "unforeseen":
        logger.error("An attack failed unforeseen:\n%s", outcome.detail)
    return InferenceError(outcome.message)
