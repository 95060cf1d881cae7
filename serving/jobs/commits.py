"""What a worker does to the database: claim a chunk, commit what came of it, fail its job.

A chunk is committed in one transaction with the count of what is done, by the holder of its last claim and by
nobody else. A worker that was stopped, given up and set going again holds an older claim, and its lease is
gone: it may compute what it likes, and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from serving.jobs.database import Database
from serving.jobs.store import UNFINISHED, add_event, count_unfinished, finish
from serving.jobs.tables import chunks, images, jobs, results, runs, workers

#: Claims of a chunk that may end in nothing: what ends its worker again and again is not tried for ever.
MOST_ATTEMPTS = 5


class LeaseLostError(Exception):
    """This worker has been given up by the others."""


@dataclass(frozen=True)
class Claim:
    """A chunk that is this worker's to carry out, and all that is needed for it.

    Attributes:
        job: The job.
        chunk: Its number.
        epoch: Of this claim.
        run: What is to be run.
        images: Name, label, exact and content of each image.
        labels: Where the labels are from.
        float_images: Whether the exact results are kept.
        request_id: Of the request that began it all.
    """

    job: str
    chunk: int
    epoch: int
    run: sa.Row[Any]
    images: list[sa.Row[Any]]
    labels: str
    float_images: bool
    request_id: str


@dataclass(frozen=True)
class Outcome:
    """What came of a chunk.

    Attributes:
        record: To be kept, see :mod:`serving.jobs.kept`.
        pictures: The adversarial images, a zip.
        wrong_before: Images that the model got wrong as they were.
        fooled: Images that the attack fooled.
        successes: Images after which the model does what the attacker wants, the former included.
        seconds: That it took.
    """

    record: bytes
    pictures: bytes
    wrong_before: int
    fooled: int
    successes: int
    seconds: float


class Commits:
    """Claims and commits in the name of one worker.

    Args:
        database: Prepared.
        worker: Its id, whose lease has begun.
    """

    def __init__(self, database: Database, worker: str) -> None:
        self._database = database
        self._worker = worker

    def claim(self, job: str, chunk: int) -> Claim | None:
        """Claim a chunk; ``None`` if there is nothing to do any more.

        Raises:
            LeaseLostError: This worker has been given up.
        """
        with self._database.write() as connection:
            self._check_lease(connection)
            row = self._begin(connection, job)
            if row is None:
                return None
            claimed = connection.execute(
                sa.update(chunks)
                .where(chunks.c.job == job, chunks.c.chunk == chunk, chunks.c.state != "done")
                .values(
                    state="running",
                    epoch=chunks.c.epoch + 1,
                    attempts=chunks.c.attempts + 1,
                    worker=self._worker,
                )
                .returning(chunks.c.epoch, chunks.c.attempts, chunks.c.run, chunks.c.first, chunks.c.count)
            ).one_or_none()
            if claimed is None:
                return None
            if claimed.attempts > MOST_ATTEMPTS:
                last = claimed.first + claimed.count - 1
                message = f"Images {claimed.first} to {last} ended their worker {MOST_ATTEMPTS} times."
                finish(connection, self._database, job, "failed", message)
                return None
            run = connection.execute(
                sa.select(runs).where(runs.c.job == job, runs.c.run == claimed.run)
            ).one()
            found = connection.execute(
                sa.select(images)
                .where(
                    images.c.job == job,
                    images.c.image >= claimed.first,
                    images.c.image < claimed.first + claimed.count,
                )
                .order_by(images.c.image)
            ).all()
        return Claim(
            job=job,
            chunk=chunk,
            epoch=claimed.epoch,
            run=run,
            images=list(found),
            labels=row.labels,
            float_images=row.float_images,
            request_id=row.request_id,
        )

    def commit(self, claim: Claim, outcome: Outcome) -> bool:
        """Keep what came of a chunk, and count it, once; whether the claim still held.

        Raises:
            LeaseLostError: This worker has been given up.
        """
        with self._database.write() as connection:
            # The job's row first, as everywhere, so that no two transactions wait for each other.
            row = connection.execute(
                sa.update(jobs)
                .where(jobs.c.id == claim.job, jobs.c.state.in_(UNFINISHED))
                .values(
                    done=jobs.c.done + 1,
                    stored=jobs.c.stored + len(outcome.record) + len(outcome.pictures),
                )
                .returning(jobs.c.done, jobs.c.chunks)
            ).one_or_none()
            self._check_lease(connection)
            if row is None or not self._finish_chunk(connection, claim, outcome):
                connection.rollback()
                return False
            connection.execute(
                sa.insert(results).values(
                    job=claim.job, chunk=claim.chunk, record=outcome.record, pictures=outcome.pictures
                )
            )
            add_event(connection, claim.job, "progress", self._progress(connection, claim, row))
            if row.done == row.chunks:
                finish(connection, self._database, claim.job, "succeeded")
        return True

    def fail(self, job: str, message: str) -> list[int]:
        """End a job for a reason, in words; the chunks that need no longer be carried out."""
        with self._database.write() as connection:
            if not finish(connection, self._database, job, "failed", message):
                return []
            left = sa.select(chunks.c.chunk).where(chunks.c.job == job, chunks.c.state != "done")
            return list(connection.execute(left).scalars())

    def release(self) -> None:
        """Give back what this worker has claimed and will not finish; that is not held against it."""
        with self._database.write() as connection:
            connection.execute(
                sa.update(chunks)
                .where(chunks.c.worker == self._worker, chunks.c.state == "running")
                .values(state="waiting", attempts=chunks.c.attempts - 1, epoch=chunks.c.epoch + 1)
            )

    def is_wanted(self, job: str) -> bool:
        """Whether a job is neither cancelled, nor failed, nor deleted."""
        with self._database.read() as connection:
            state = connection.execute(sa.select(jobs.c.state).where(jobs.c.id == job)).scalar()
        return state in UNFINISHED

    def unfinished(self) -> int:
        """How many jobs wait or run."""
        with self._database.read() as connection:
            return count_unfinished(connection)

    def _check_lease(self, connection: sa.Connection) -> None:
        held = sa.select(workers.c.state).where(workers.c.id == self._worker)
        if not self._database.is_sqlite:  # until the end of the transaction nobody may give this worker up
            held = held.with_for_update(read=True)
        if connection.execute(held).scalar() != "alive":
            raise LeaseLostError

    def _begin(self, connection: sa.Connection, job: str) -> sa.Row[Any] | None:
        """Let a job run, if it is to; its row is locked from here on."""
        row = connection.execute(
            sa.update(jobs)
            .where(jobs.c.id == job, jobs.c.state.in_(UNFINISHED))
            .values(state="running", started=sa.func.coalesce(jobs.c.started, self._database.now))
            .returning(*jobs.c)
        ).one_or_none()
        if row is not None and row.events == 1:
            add_event(connection, job, "running", {"state": "running"})
        return row

    def _finish_chunk(self, connection: sa.Connection, claim: Claim, outcome: Outcome) -> bool:
        done = connection.execute(
            sa.update(chunks)
            .where(
                chunks.c.job == claim.job,
                chunks.c.chunk == claim.chunk,
                chunks.c.state == "running",
                chunks.c.epoch == claim.epoch,
                chunks.c.worker == self._worker,
            )
            .values(
                state="done",
                seconds=outcome.seconds,
                wrong_before=outcome.wrong_before,
                fooled=outcome.fooled,
                successes=outcome.successes,
            )
        )
        return done.rowcount == 1

    def _progress(self, connection: sa.Connection, claim: Claim, row: sa.Row[Any]) -> dict[str, Any]:
        of_run = (chunks.c.job == claim.job, chunks.c.run == claim.run.run, chunks.c.state == "done")
        sums = connection.execute(
            sa.select(sa.func.sum(chunks.c.count), sa.func.sum(chunks.c.successes)).where(*of_run)
        ).one()
        return {
            "state": "running",
            "share": round(row.done / row.chunks, 4),
            "run": {
                "model": claim.run.model,
                "version": claim.run.version,
                "defence": claim.run.defence,
                "attack": claim.run.name,
                "images_done": sums[0],
                "robust_accuracy": round(1 - sums[1] / sums[0], 6) if claim.run.judged else None,
            },
        }
