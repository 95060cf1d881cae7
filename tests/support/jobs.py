"""Jobs without a gateway: a database, campaigns in it, and worker processes that can be killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from support.tiny import solid_png

from holdfast.bundle import ModelStore
from holdfast.images import ImageLimits
from serving.jobs.chunk import Attacker
from serving.jobs.commits import Commits
from serving.jobs.database import Database
from serving.jobs.leases import Leases
from serving.jobs.plan import Campaign, Item
from serving.jobs.queue import ChunkQueue
from serving.jobs.reading import JobReader
from serving.jobs.requests import CampaignRequest
from serving.jobs.result_json import result_json
from serving.jobs.results import ResultReader
from serving.jobs.store import JobStore
from serving.jobs.tables import chunks, events, jobs, results
from serving.jobs.understanding import label_items, plan_runs
from serving.jobs.views import Job, JobResult
from serving.settings import Settings

#: Seconds to wait for what has to happen.
PATIENCE = 60.0

#: A lease that a test can wait for.
LEASE = 2.0

#: Steps that take about a third of a second on four of these images; nothing ends them sooner.
STEPS = 150

#: What takes longer than any test.
LONG: dict[str, Any] = {"steps": 10_000, "restarts": 100}


def wait_until(happened: Callable[[], bool], what: str, patience: float = PATIENCE) -> float:
    """Wait; the seconds that it took."""
    began = time.monotonic()
    while not happened():
        if time.monotonic() - began > patience:
            raise AssertionError(f"waited {patience:.0f} s in vain for {what}")
        time.sleep(0.03)
    return time.monotonic() - began


def red_items(count: int) -> list[Item]:
    """Images that no small perturbation turns into anything but red, each of the first 128 another one."""
    return [Item(f"red-{n}.png", solid_png((255 - n % 128, n % 128 // 2, 0))) for n in range(count)]


class Backlog:
    """A database of jobs over the tiny store.

    Args:
        url: The database's address.
        store: The model store.
        settings: Further settings.
    """

    def __init__(self, url: str, store: Path, **settings: Any) -> None:
        self.model_store = store
        self.settings = Settings(
            model_store=store,
            jobs_database=url,
            **{"jobs_lease": LEASE, "jobs_chunk_images": 4, "jobs_drain": 1, **settings},
        )
        self.database = Database(url)
        self.database.prepare()
        self.queue = ChunkQueue(self.database)
        self.store = JobStore(self.database, self.queue, self.settings)
        self.reader = JobReader(self.database, self.settings)
        self.results = ResultReader(self.database)
        self.leases = Leases(self.database, self.settings.jobs_lease)

    def close(self) -> None:
        """Give the connections back."""
        self.queue.close()
        self.database.close()

    def submit(
        self,
        images: int = 8,
        *,
        attacks: Sequence[Any] = ("pgd",),
        steps: int = STEPS,
        restarts: int = 1,
        **request: Any,
    ) -> str:
        """Take a campaign on that takes its time and fools nobody; its job."""
        campaign = self.campaign(images, attacks=attacks, steps=steps, restarts=restarts, **request)
        return self.store.submit(campaign, owner="", request_id="test", token=None).job

    def campaign(
        self,
        images: int = 8,
        *,
        attacks: Sequence[Any] = ("pgd",),
        steps: int = STEPS,
        restarts: int = 1,
        **request: Any,
    ) -> Campaign:
        """What :meth:`submit` takes on."""
        slow = {"steps": steps, "restarts": restarts, "epsilon": "1/255"}
        parameters = slow if "pgd" in attacks else {}
        asked = CampaignRequest(
            **{"models": ["tiny"], "attacks": list(attacks), "parameters": parameters, **request}
        )
        runs = plan_runs(asked, ModelStore(self.model_store).open, most=64)
        items, labels = label_items(red_items(images), "file", runs)
        return Campaign("", runs, items, labels, asked.float_images)

    def job(self, job: str) -> Job:
        """How a job is."""
        return self.reader.get(job, None)

    def result(self, job: str) -> JobResult:
        """What a job came to."""
        reading = self.results.read(self.reader.row(job, None), partial=True)
        return JobResult.model_validate_json(b"".join(result_json(reading, self.results)))

    def state(self, job: str) -> str:
        """A job's state."""
        return str(self._ask(sa.select(jobs.c.state).where(jobs.c.id == job))[0][0])

    def done(self, job: str) -> int:
        """How many of a job's chunks are done."""
        return int(self._ask(sa.select(jobs.c.done).where(jobs.c.id == job))[0][0])

    def chunks(self, job: str) -> list[Any]:
        """The rows of a job's chunks, in order."""
        return self._ask(sa.select(chunks).where(chunks.c.job == job).order_by(chunks.c.chunk))

    def records(self, job: str) -> list[tuple[int, bytes, bytes]]:
        """What is kept of each chunk."""
        found = self._ask(sa.select(results).where(results.c.job == job).order_by(results.c.chunk))
        return [(row.chunk, bytes(row.record), bytes(row.pictures)) for row in found]

    def kinds(self, job: str) -> list[str]:
        """The kinds of a job's events, in order."""
        found = self._ask(sa.select(events.c.kind).where(events.c.job == job).order_by(events.c.number))
        return [row.kind for row in found]

    def wait_for(self, job: str, state: str = "succeeded", patience: float = PATIENCE) -> float:
        """Wait until a job is in a state; the seconds that it took."""
        return wait_until(lambda: self.state(job) == state, f"{job} to have {state}", patience)

    def wait_for_chunks(self, job: str, count: int) -> None:
        """Wait until so many chunks of a job are done."""
        wait_until(lambda: self.done(job) >= count, f"{count} chunks of {job}")

    def wait_for_running(self, job: str) -> Any:
        """Wait until a chunk of a job is being carried out: its row."""
        found: list[Any] = []

        def look() -> bool:
            found[:] = [row for row in self.chunks(job) if row.state == "running"]
            return bool(found)

        wait_until(look, f"a chunk of {job} to run")
        return found[0]

    @contextmanager
    def worker(self, *options: str, **settings: str) -> Iterator[WorkerProcess]:
        """A worker process, which has said that it is ready; killed in the end, if it has not ended."""
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")},
            "OMP_NUM_THREADS": "1",
            "HOLDFAST_MODEL_STORE": str(self.model_store),
            "HOLDFAST_JOBS_DATABASE": self.settings.jobs_database,
            "HOLDFAST_JOBS_LEASE": str(self.settings.jobs_lease),
            "HOLDFAST_JOBS_DRAIN": str(self.settings.jobs_drain),
            "HOLDFAST_LOG_FORMAT": "plain",
            **settings,
        }
        log = self.model_store.parent / f"worker-{time.monotonic_ns()}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "holdfast", "worker", "--threads", "1", *options],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        worker = WorkerProcess(process, log)
        try:
            wait_until(worker.settled, f"a worker to be ready:\n{worker.log()}")
            yield worker
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(PATIENCE)

    def carry_out(self, job: str, worker: str = "here", most: int | None = None) -> None:
        """Do what a worker does with a job's chunks, all or the first ones, in this process."""
        if worker not in self.leases.alive():
            self.leases.begin(worker)
        commits = Commits(self.database, worker)
        attacker = Attacker(ModelStore(self.model_store), threads=1, limits=ImageLimits())
        for row in self.chunks(job)[:most]:
            claim = commits.claim(job, row.chunk)
            if claim is not None:
                commits.commit(claim, attacker.carry_out(claim, lambda: None))

    def _ask(self, query: sa.Select[Any]) -> list[Any]:
        with self.database.read() as connection:
            return list(connection.execute(query).all())


class WorkerProcess:
    """A worker process and what it says."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def id(self) -> str:
        """Its name; after it has begun anew, its latest."""
        return re.findall(r"Worker (\S+) is ready", self.log())[-1]

    def log(self) -> str:
        """All that it has said."""
        return self._log.read_text(encoding="utf-8")

    def settled(self) -> bool:
        """Whether it is ready, or has ended."""
        return "is ready" in self.log() or self.process.poll() is not None

    def says(self, words: str, patience: float = PATIENCE) -> float:
        """Wait until it says something; the seconds that it took."""
        return wait_until(lambda: words in self.log(), f"{words!r} in:\n{self.log()}", patience)

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait(PATIENCE)

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)
