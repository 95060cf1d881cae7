"""The gateway's part in jobs: it takes them on, reads how they are, and keeps workers beside it for them.

Nothing of it runs before there is a job: the database is opened, and the library for it loaded, by the first
request that needs it, or at the start where there may be jobs from before.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from holdfast.errors import HoldfastError
from holdfast.images import ImageLimits
from holdfast.manifest import InputSpec
from serving.gateway.admission import Admission
from serving.gateway.jobs.images import render
from serving.gateway.jobs.refusals import refusal
from serving.gateway.jobs.upload import Submission
from serving.gateway.lifecycle import Lifecycle
from serving.gateway.metrics import Metrics
from serving.gateway.problem_kinds import DEADLINE_EXCEEDED, NOT_READY, OVERLOADED
from serving.gateway.problems import Problem, retry_after
from serving.jobs.datasets import Datasets
from serving.jobs.errors import JobError
from serving.jobs.intake import GoOn, check_images, read_uploads
from serving.jobs.limits import Limits
from serving.jobs.plan import Campaign
from serving.jobs.supervisor import Supervisor
from serving.jobs.understanding import label_items, plan_runs
from serving.jobs.views import Dataset, Happened, Job, JobList, State
from serving.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Row

    from serving.jobs.database import Database
    from serving.jobs.gallery import Gallery, Page, Wanted
    from serving.jobs.leases import Leases
    from serving.jobs.queue import ChunkQueue
    from serving.jobs.reading import JobReader
    from serving.jobs.results import Reading, ResultReader
    from serving.jobs.store import Idempotency, JobStore, Submitted

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Questions to the database at the same time; a slow one does not hold up all others.
_THREADS = 4

#: Results that are put together at the same time; the largest take several seconds each.
_RESULTS = 2

#: Campaigns that are read and checked at the same time: their images are in memory then.
_CHECKED = 2

#: Seconds between two looks for jobs that were kept long enough, or that want a worker.
_SWEEP = 30.0


@dataclass(frozen=True)
class _Open:
    """The parts that need the database."""

    database: Database
    queue: ChunkQueue
    store: JobStore
    reader: JobReader
    results: ResultReader
    gallery: Gallery
    leases: Leases


class JobService:
    """What the routes ask about jobs.

    Args:
        settings: Of the gateway.
        lifecycle: Where the models are, and when the gateway drains.
        metrics: Where it is said how many jobs there are.
    """

    def __init__(self, settings: Settings, lifecycle: Lifecycle, metrics: Metrics) -> None:
        self._metrics = metrics
        self._settings = settings
        self._lifecycle = lifecycle
        self._datasets = Datasets(settings.datasets)
        self._limits = Limits(
            image=ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_pixels),
            images=settings.jobs_max_images,
            bytes=int(settings.jobs_max_bytes),
        )
        self._executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="jobs")
        self._reading = asyncio.Semaphore(_RESULTS)
        self._opening = threading.Lock()
        self._opened: _Open | None = None
        self._supervisor = Supervisor(settings, self._is_wanted, self._note_lost)
        self._keeper: asyncio.Task[None] | None = None
        #: What arrives: many may send at once, and the slow hold nobody up; their bytes are counted.
        self.admission = Admission(
            max_requests=settings.max_requests, max_bytes=2 * _CHECKED * settings.jobs_max_bytes
        )
        self._checking = asyncio.Semaphore(_CHECKED)
        self._closing = threading.Event()
        self.streams = 0

    @property
    def workers(self) -> list[int]:
        """The process ids of the workers that run beside the gateway."""
        return self._supervisor.processes

    @property
    def draining(self) -> bool:
        """Whether whoever follows a job had better do so elsewhere."""
        return self._lifecycle.state in ("draining", "stopped")

    def start(self) -> None:
        """Look, once the models are there and then now and again, for jobs that want something."""
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """End the workers, give up what is being checked, and give the database back."""
        self._closing.set()
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._supervisor.stop()
        await asyncio.get_running_loop().run_in_executor(None, self._close)

    async def submit(
        self, submission: Submission, *, key: str | None, owner: str, request_id: str
    ) -> tuple[Job, bool]:
        """Take a campaign on, if all of it can be used; the job, and whether it was there before.

        Where it is cancelled, the check of the images ends too, before the next of them.

        Raises:
            Problem: It cannot be used, or there was no time to read and check it.
            JobError: It cannot be stored.
        """
        seconds = self._settings.jobs_upload_time
        deadline = time.monotonic() + seconds
        try:
            async with asyncio.timeout(seconds):
                await self._checking.acquire()
        except TimeoutError:
            raise Problem(
                OVERLOADED,
                f"{_CHECKED} other jobs are read and checked at the moment, and it was not this one's turn "
                f"in {seconds:g} s.",
                retry_after(seconds / 2),
            ) from None
        try:
            submitted = await self._check(submission, key, owner, request_id, deadline)
        except HoldfastError as error:
            raise refusal(error) from None
        finally:
            self._checking.release()
        if not submitted.known:
            self._supervisor.need()
        job = await self._run(lambda parts: parts.reader.get(submitted.job, owner or None))
        return job, submitted.known

    async def get(self, job: str, owner: str | None) -> Job:
        """See :meth:`serving.jobs.reading.JobReader.get`."""
        return await self._ask(lambda parts: parts.reader.get(job, owner), job)

    async def page(self, owner: str | None, *, limit: int, before: str | None, state: str | None) -> JobList:
        """See :meth:`serving.jobs.reading.JobReader.page`."""
        if not await self._exists() and before is None:
            return JobList(jobs=[])
        return await self._ask(
            lambda parts: parts.reader.page(owner, limit=limit, before=before, state=state), before or ""
        )

    async def events(self, job: str, owner: str | None, after: int) -> Happened:
        """See :meth:`serving.jobs.reading.JobReader.events`."""
        return await self._ask(lambda parts: parts.reader.events(job, owner, after), job)

    async def cancel(self, job: str, owner: str | None) -> Job:
        """How a job is after :meth:`serving.jobs.store.JobStore.cancel`."""

        def cancel(parts: _Open) -> Job:
            parts.store.cancel(job, owner)
            return parts.reader.get(job, owner)

        return await self._ask(cancel, job)

    async def remove(self, job: str, owner: str | None) -> bool:
        """See :meth:`serving.jobs.store.JobStore.remove`."""
        return await self._ask(lambda parts: parts.store.remove(job, owner), job)

    async def result(self, job: str, owner: str | None, *, partial: bool) -> Reading:
        """See :meth:`serving.jobs.results.ResultReader.read`; of many images, that takes its time."""
        async with self._reading:
            return await self._ask(
                lambda parts: parts.results.read(parts.reader.row(job, owner), partial=partial), job
            )

    async def render_totals(self, reading: Reading) -> bytes:
        """A result as JSON, without what came of every image."""

        def dump() -> bytes:
            left_out = {"runs": {"__all__": {"record": {"results"}}}}
            return reading.result.model_dump_json(exclude=left_out).encode()

        return await asyncio.get_running_loop().run_in_executor(self._executor, dump)

    def render(self, reading: Reading) -> Iterator[bytes]:
        """See :func:`serving.jobs.result_json.result_json`; to be iterated in a thread."""
        from serving.jobs.result_json import result_json

        return result_json(reading, self._open().results)

    def package(self, reading: Reading) -> Iterator[bytes]:
        """See :func:`serving.jobs.package.package`; to be iterated in a thread."""
        from serving.jobs.package import package

        return package(reading, self._open().results)

    async def images(self, job: str, owner: str | None, wanted: Wanted) -> Page:
        """See :meth:`serving.jobs.gallery.Gallery.find`."""
        return await self._ask(lambda parts: parts.gallery.find(parts.reader.row(job, owner).id, wanted), job)

    def render_images(self, page: Page) -> Iterator[bytes]:
        """See :func:`serving.gateway.jobs.images.render`; to be iterated in a thread."""
        return render(page, self._open().gallery.read(page, self._input_of(page.run)))

    def _input_of(self, run: Row[Any]) -> InputSpec | None:
        """What the model of a run takes, if it is served."""
        try:
            manifest = self._lifecycle.catalogue.find(run.model, run.version).manifest
        except (Problem, HoldfastError):
            return None
        return manifest.input if manifest.digest == run.digest else None

    async def datasets(self) -> list[Dataset]:
        """What :class:`serving.jobs.datasets.Datasets` finds."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._datasets.describe)

    async def counts(self) -> dict[str, int] | None:
        """How many jobs there are, by state; ``None`` where there were none yet, or nobody to ask."""
        if self._opened is None:
            return None
        try:
            counts = await self._run(lambda parts: parts.store.counts())
        except JobError:
            return None  # this is asked when things go wrong, too
        return {state: counts.get(state, 0) for state in get_args(State)}

    async def measure(self) -> None:
        """Say in the metrics how many jobs there are, by state, if that is known."""
        for state, jobs in (await self.counts() or {}).items():
            self._metrics.set_jobs(state, jobs)

    async def _check(
        self, submission: Submission, key: str | None, owner: str, request_id: str, deadline: float
    ) -> Submitted:
        """Read, check and store in a thread, which has ended when this has."""
        unwanted = threading.Event()

        def go_on() -> None:
            if unwanted.is_set() or self._closing.is_set():
                raise Problem(NOT_READY, "The server is shutting down.", retry_after(1))
            if time.monotonic() > deadline:
                raise Problem(
                    DEADLINE_EXCEEDED,
                    f"The images could not be read and checked in {self._settings.jobs_upload_time:g} s, so "
                    "nothing was taken on. Send fewer, or smaller ones, in several jobs.",
                )

        running = asyncio.ensure_future(
            self._run(lambda parts: self._submit(parts, submission, key, owner, request_id, go_on))
        )
        # A caller that has gone will not ask what became of it.
        running.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            unwanted.set()
            # The files are open, and what they hold is counted, until the thread has no more to do with them.
            await asyncio.wait({running})
            raise

    def _submit(
        self,
        parts: _Open,
        submission: Submission,
        key: str | None,
        owner: str,
        request_id: str,
        go_on: GoOn,
    ) -> Submitted:
        from serving.jobs.store import Idempotency

        token: Idempotency | None = None
        if key is not None:
            token = Idempotency(key, submission.fingerprint(go_on))
            if (known := parts.store.find_submitted(owner, token)) is not None:
                return known
        request = submission.request
        catalogue = self._lifecycle.catalogue
        runs = plan_runs(request, catalogue.find, most=self._settings.jobs_max_runs)
        if request.dataset is not None:
            items = self._datasets.read(request.dataset, self._limits, go_on)
        else:
            items = read_uploads(submission.uploads, self._limits, request.layout, go_on)
        check_images(items, [run.bundle.manifest.input for run in runs], self._limits.image, go_on)
        items, labels = label_items(items, request.labels, runs)
        go_on()  # whoever has gone gets no job
        campaign = Campaign(request.name, runs, items, labels, request.float_images)
        return parts.store.submit(campaign, owner=owner, request_id=request_id, token=token)

    async def _ask(self, call: Callable[[_Open], T], job: str) -> T:
        """Ask about a job; where there is no database yet, there is no job."""
        from serving.jobs.errors import UnknownJobError

        if not await self._exists():
            raise UnknownJobError(f"There is no job '{job[:40]}'.", hint="GET /v1/jobs lists them.")
        return await self._run(call)

    async def _exists(self) -> bool:
        """Whether there may be jobs; asking loads no library for the database, and makes no file."""
        if self._opened is not None or not self._settings.jobs_database.startswith("sqlite"):
            return True
        from pathlib import Path

        return Path(self._settings.jobs_database.removeprefix("sqlite:///")).exists()

    async def _run(self, call: Callable[[_Open], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, lambda: call(self._open()))

    def _open(self) -> _Open:
        """The parts that need the database, opened once; in a thread.

        Raises:
            StorageError, StorageFullError: The database cannot be used.
        """
        with self._opening:
            if self._opened is None:
                self._opened = _open(self._settings, self._limits.image)
            return self._opened

    def _close(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)
        if self._opened is not None:
            self._opened.queue.close()
            self._opened.database.close()

    async def _keep(self) -> None:
        await self._lifecycle.settled()
        while True:
            try:
                if await self._exists():
                    await self._run(lambda parts: parts.store.sweep())
                    if await self._is_wanted():
                        self._supervisor.need()
            except JobError as error:
                logger.warning("Jobs: %s", error.message)
            except Exception:
                logger.exception("Looking after the jobs failed")
            await asyncio.sleep(_SWEEP)

    async def _is_wanted(self) -> bool:
        return await self._run(lambda parts: parts.store.unfinished()) > 0

    async def _note_lost(self, worker: str) -> None:
        await self._run(lambda parts: parts.leases.end(worker, "lost"))


def _open(settings: Settings, limits: ImageLimits) -> _Open:
    from serving.jobs.database import Database
    from serving.jobs.gallery import Gallery
    from serving.jobs.leases import Leases
    from serving.jobs.queue import ChunkQueue
    from serving.jobs.reading import JobReader
    from serving.jobs.results import ResultReader
    from serving.jobs.store import JobStore

    database = Database(settings.jobs_database)
    try:
        database.prepare()
        queue = ChunkQueue(database)
    except HoldfastError:
        database.close()
        raise
    return _Open(
        database=database,
        queue=queue,
        store=JobStore(database, queue, settings),
        reader=JobReader(database, settings),
        results=ResultReader(database),
        gallery=Gallery(database, limits),
        leases=Leases(database, settings.jobs_lease),
    )
