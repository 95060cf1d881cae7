"""A worker: takes chunks from the queue and carries them out, until it is told to end.

Three threads: the main one waits for a signal, DBOS's takes chunks one at a time and carries them out, and
the watch renews this worker's lease, gives up workers that are silent, and notices a job that is cancelled.

A worker that finds itself given up, because it was stopped for longer than its lease, begins anew in place
under another name. What it was at has gone to others; it could not commit it any more.
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn, TypeVar

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer
from sqlalchemy.exc import SQLAlchemyError

from holdfast.bundle import ModelStore
from holdfast.errors import HoldfastError
from holdfast.images import ImageLimits
from serving.jobs.chunk import Attacker
from serving.jobs.commits import Claim, Commits, LeaseLostError
from serving.jobs.database import Database, is_passing, quieten, reason_of
from serving.jobs.leases import Leases
from serving.jobs.queue import APPLICATION, POLLING, QUEUE, VERSION, WORKFLOW, ChunkQueue
from serving.settings import Settings

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Where a supervisor tells a worker what it is called. It is not a setting.
IDENTITY = "_HOLDFAST_WORKER"

#: Seconds between two looks of the watch at the job that is being carried out.
_TICK = 0.5

#: Seconds for which a worker tries to store what it has done, before it gives itself up.
_PATIENCE = 60.0

#: What the gateway accepted is decoded, whatever this worker's own limits are.
_LIMITS = ImageLimits(max_bytes=1 << 30, max_pixels=89_478_485)


class EndedError(Exception):
    """The attack is no longer wanted."""


@dataclass(frozen=True)
class Options:
    """How a worker runs.

    Attributes:
        threads: For one operator of a model.
        until_idle: Seconds without a job after which it ends by itself; ``None`` for never.
        with_parent: End when the process that started this one does: when stdin ends.
        nice: Its priority, from 0, as that of everything else, to 19, which leaves the cores to others.
    """

    threads: int
    until_idle: float | None = None
    with_parent: bool = False
    nice: int = 0


class Worker:
    """One worker process.

    Args:
        settings: Where the jobs and the models are, and how long a lease is.
        options: How to run.

    Raises:
        HoldfastError: The database cannot be used.
    """

    def __init__(self, settings: Settings, options: Options) -> None:
        self.id = os.environ.pop(IDENTITY, "") or new_identity()
        self._settings = settings
        self._options = options
        self._database = Database(settings.jobs_database)
        self._database.prepare()
        self._queue = ChunkQueue(self._database)
        self._leases = Leases(self._database, settings.jobs_lease)
        self._commits = Commits(self._database, self.id)
        self._attacker = Attacker(ModelStore(settings.model_store), threads=options.threads, limits=_LIMITS)
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._keep_watch, name="watch", daemon=True)
        self._claim: Claim | None = None
        self._unwanted = False
        self._worked = time.monotonic()

    def run(self) -> None:
        """Work until a signal, or whatever else is to end it."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        lower_priority(self._options.nice)
        self._leases.begin(self.id)
        self._launch()
        self._watch.start()
        if self._options.with_parent:
            threading.Thread(target=self._follow_parent, name="parent", daemon=True).start()
        logger.info("Worker %s is ready: %d thread(s)", self.id, self._options.threads)
        self._stop.wait()
        self._finish()

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        if self._stop.is_set():  # somebody is in a hurry; the others will notice
            os._exit(128 + number)
        self._stop.set()

    def _launch(self) -> None:
        """Start DBOS, which takes chunks from here on."""
        quieten()
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": self._database.url,
            "executor_id": self.id,
            "application_version": VERSION,
            "serializer": DBOSPortableJSONSerializer(),
            "log_level": "WARNING",
            "run_migrations": False,
            "sys_db_pool_size": 4,
            "enable_otlp": False,
        }
        self._dbos = DBOS(config=config)

        @DBOS.step(name="holdfast.attack")
        def attack(job: str, number: int) -> str:
            return self._carry_out(job, number)

        # How often a chunk may be tried is counted with the chunk; DBOS is to try as often as it is told to.
        @DBOS.workflow(name=WORKFLOW, max_recovery_attempts=None)
        def chunk(job: str, number: int) -> str:
            return attack(job, number)

        DBOS.launch()
        DBOS.register_queue(
            QUEUE, worker_concurrency=1, polling_interval_sec=POLLING, on_conflict="always_update"
        )

    def _carry_out(self, job: str, number: int) -> str:
        """The step: whatever it is interrupted by, it can be done again, and is counted once."""
        try:
            claim = self._insist(lambda: self._commits.claim(job, number))
            if claim is None:
                return "not wanted"
            self._unwanted, self._claim = False, claim
            try:
                return self._attack(claim)
            finally:
                self._claim, self._worked = None, time.monotonic()
        except LeaseLostError:
            self._begin_anew()

    def _attack(self, claim: Claim) -> str:
        fields = {"job": claim.job, "chunk": claim.chunk, "request_id": claim.request_id}
        try:
            outcome = self._attacker.carry_out(claim, self._check)
            kept = self._insist(lambda: self._commits.commit(claim, outcome))
        except EndedError:
            logger.info("Job %s is over; left chunk %d", claim.job, claim.chunk, extra={"fields": fields})
            return "ended"
        except HoldfastError as error:
            return self._fail(claim, f"{error.message} {error.hint}".strip())
        except (LeaseLostError, SQLAlchemyError):
            raise
        except Exception:
            logger.exception("Chunk %d of job %s failed", claim.chunk, claim.job, extra={"fields": fields})
            last = claim.images[-1].image
            return self._fail(
                claim,
                f"{claim.run.name} on {claim.run.model} failed on images {claim.images[0].image} to {last}; "
                "the worker's log says why.",
            )
        logger.log(
            logging.INFO if kept else logging.WARNING,
            "Job %s: chunk %d, %s on %s, %d image(s) in %.2f s%s",
            claim.job,
            claim.chunk,
            claim.run.name,
            claim.run.model,
            len(claim.images),
            outcome.seconds,
            "" if kept else ", which somebody else has done or nobody wants",
            extra={"fields": fields},
        )
        return "done" if kept else "not kept"

    def _fail(self, claim: Claim, message: str) -> str:
        left = self._insist(lambda: self._commits.fail(claim.job, message))
        self._insist(lambda: self._queue.cancel(claim.job, [each for each in left if each != claim.chunk]))
        logger.error("Job %s failed: %s", claim.job, message)
        return "failed"

    def _check(self) -> None:
        """Between two steps of an attack."""
        if self._unwanted:
            raise EndedError

    def _insist(self, call: Callable[[], T]) -> T:
        """Do something with the database, again while it is not there or full; but not for ever."""
        until = time.monotonic() + _PATIENCE
        pause = 0.2
        while True:
            try:
                return call()
            except SQLAlchemyError as error:
                if not is_passing(error) or time.monotonic() > until:
                    # Whoever holds a chunk and cannot say what came of it had better be gone.
                    logger.critical("The database of jobs cannot be used: %s", reason_of(error))
                    os._exit(1)
                logger.warning("The database of jobs cannot be used: %s; trying again", reason_of(error))
            time.sleep(pause)
            pause = min(5.0, 2 * pause)

    def _keep_watch(self) -> None:
        """Renew, give up, hand on, and notice; the watch itself never ends."""
        interval, limit = min(5.0, self._settings.jobs_lease / 4), self._options.until_idle
        renewed = time.monotonic()
        first = True
        while not self._stop.wait(0 if first else min(_TICK, interval)):
            try:
                if first or time.monotonic() - renewed >= interval:
                    if not self._leases.renew(self.id):
                        self._begin_anew()
                    renewed = time.monotonic()
                    self._hand_on()
                first = False
                claim = self._claim
                if claim is not None and not self._commits.is_wanted(claim.job):
                    self._unwanted = self._claim is claim
                if limit is not None and time.monotonic() - self._worked > limit:
                    self._worked = time.monotonic()
                    if not self._is_busy():
                        logger.info("Worker %s ends: there is nothing to do", self.id)
                        self._stop.set()
            except SQLAlchemyError as error:
                logger.warning("The watch cannot use the database of jobs: %s", reason_of(error))
            except Exception:
                logger.exception("The watch stumbled, and goes on")

    def _hand_on(self) -> None:
        """Give back to the queue what was taken from it by those who are gone."""
        self._leases.give_up()
        if gone := sorted(self._queue.holders() - self._leases.alive()):
            # DBOS does this by itself only when a worker of the same name starts; these never will again.
            DBOS._recover_pending_workflows(gone)
            logger.warning("Took back the work of %s", ", ".join(gone))

    def _is_busy(self) -> bool:
        return self._claim is not None or self._commits.unfinished() > 0

    def _follow_parent(self) -> None:
        """Wait for the end of stdin, which the parent holds open as long as it lives."""
        while sys.stdin.buffer.read(4096):
            pass
        self._stop.set()

    def _finish(self) -> None:
        """End: finish what is being done if that is soon, and else give it back."""
        until = time.monotonic() + self._settings.jobs_drain
        # What is taken from the queue from here on would be given back at once.
        for event in self._dbos.background_thread_stop_events:
            event.set()
        while self._claim is not None and time.monotonic() < until:
            time.sleep(0.05)
        try:
            self._leases.end(self.id)
            self._commits.release()
            DBOS._recover_pending_workflows([self.id])
        except SQLAlchemyError as error:  # then the others notice
            logger.warning("Could not say goodbye: %s", reason_of(error))
        logger.info("Worker %s has ended", self.id)
        for handler in logging.getLogger().handlers:
            handler.flush()
        # An attack may still run, whose outcome nobody would take; its thread cannot be ended otherwise.
        os._exit(0)

    def _begin_anew(self) -> NoReturn:
        """Replace this process by a new worker: whatever it was at belongs to others now."""
        while self._stop.is_set():  # it has said goodbye, and is about to end
            time.sleep(1)
        logger.warning("Worker %s was given up by the others; it begins anew", self.id)
        for handler in logging.getLogger().handlers:
            handler.flush()
        os.execv(sys.executable, sys.orig_argv)  # noqa: S606 - itself, as it was started


def lower_priority(nice: int) -> None:
    """Stand back this far; where somebody has seen to it that we stand back further, that remains."""
    # Only who is privileged may raise it again, and in a container nobody is.
    os.setpriority(os.PRIO_PROCESS, 0, max(nice, os.getpriority(os.PRIO_PROCESS, 0)))


def new_identity() -> str:
    """A name that no worker has had before."""
    return f"{socket.gethostname()[:30]}-{os.getpid()}-{secrets.token_hex(4)}"
