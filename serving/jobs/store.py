"""Taking jobs on and letting go of them: what the gateway does to the database."""

from __future__ import annotations

import json
import logging
import re
import secrets
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from serving.jobs.database import Database, explained
from serving.jobs.errors import (
    JobError,
    KeyReusedError,
    QuotaError,
    StorageFullError,
    TooManyJobsError,
    UnknownJobError,
)
from serving.jobs.plan import Campaign
from serving.jobs.queue import ChunkQueue
from serving.jobs.tables import OF_JOBS, chunks, events, idempotency, images, jobs, runs
from serving.settings import Settings

logger = logging.getLogger(__name__)

#: States in which nothing more happens to a job.
FINISHED = ("succeeded", "failed", "cancelled")
UNFINISHED = ("queued", "running")

#: A job's id says nothing of it, and cannot be guessed.
_ID_BYTES = 10
_ID = re.compile(r"[0-9a-f]{20}")

#: Bytes that are left free on the disk, for the rest of the machine and for the database's own journal.
_RESERVE = 64 * 1024 * 1024

#: Held on PostgreSQL while a job is taken on, so that two gateways do not both take the last room.
_LOCK = 0x486F6C6466617375


@dataclass(frozen=True)
class Idempotency:
    """An Idempotency-Key, and what distinguishes the content that it came with."""

    key: str
    fingerprint: str


@dataclass(frozen=True)
class Submitted:
    """A job, and whether it was there before."""

    job: str
    known: bool


class JobStore:
    """Takes jobs on, cancels, deletes and sweeps them.

    Args:
        database: Prepared.
        queue: Over the same database.
        settings: The limits.
    """

    def __init__(self, database: Database, queue: ChunkQueue, settings: Settings) -> None:
        self._database = database
        self._queue = queue
        self._settings = settings

    def find_submitted(self, owner: str, token: Idempotency) -> Submitted | None:
        """The job that was submitted with this key.

        Raises:
            KeyReusedError: With this key, and other content.
        """
        with explained(), self._database.read() as connection:
            return _find_submitted(connection, owner, token)

    def submit(
        self, campaign: Campaign, *, owner: str, request_id: str, token: Idempotency | None
    ) -> Submitted:
        """Take a campaign on: all of it is in the database when this returns, or nothing is.

        Args:
            campaign: What was understood of the request.
            owner: Whose it is.
            request_id: Of the request, for the logs.
            token: By which a repetition of the request is known.

        Raises:
            KeyReusedError: The key stands for another campaign.
            TooManyJobsError, QuotaError: There is no room for it.
            StorageFullError, StorageError: It cannot be stored.
        """
        job = secrets.token_hex(_ID_BYTES)
        size = campaign.bytes_at_most()
        self._check_disk(size)
        with explained(), self._database.write() as connection:
            if not self._database.is_sqlite:  # on SQLite there is one writer at a time
                connection.execute(sa.text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            known = None if token is None else _find_submitted(connection, owner, token)
            if known is not None:
                return known
            self._check_room(connection, size)
            self._insert(connection, job, campaign, size, owner, request_id)
            if token is not None:
                connection.execute(
                    sa.insert(idempotency).values(
                        owner=owner, key=token.key, fingerprint=token.fingerprint, job=job
                    )
                )
        logger.info("Job %s: %d image(s), %d run(s)", job, len(campaign.items), len(campaign.runs))
        return Submitted(job, known=False)

    def cancel(self, job: str, owner: str | None) -> bool:
        """Cancel a job; one that has finished stays as it is, however often this is asked for.

        Args:
            job: Which.
            owner: Whose it has to be; ``None`` for anyone's.

        Returns:
            Whether it had not finished before.

        Raises:
            UnknownJobError: There is none.
        """
        if not is_id(job):
            raise unknown(job)
        with explained():
            with self._database.write() as connection:
                mine = sa.true() if owner is None else jobs.c.owner == owner
                state = connection.execute(sa.select(jobs.c.state).where(jobs.c.id == job, mine)).scalar()
                if state is None:
                    raise unknown(job)
                if state in FINISHED:
                    return False
                cancelled = finish(connection, self._database, job, "cancelled")
                left = _chunks(connection, job, unfinished=True) if cancelled else []
            self._queue.cancel(job, left)
            return True

    def remove(self, job: str, owner: str | None) -> bool:
        """Cancel a job; if it has finished, delete it.

        Args:
            job: Which.
            owner: Whose it has to be; ``None`` for anyone's.

        Returns:
            Whether it was deleted.

        Raises:
            UnknownJobError: There is none.
        """
        if self.cancel(job, owner):
            return False
        with explained():
            self.delete(job)
        return True

    def delete(self, job: str) -> None:
        """Delete all that is kept of a job."""
        with self._database.read() as connection:
            numbers = _chunks(connection, job)
        self._queue.forget(job, numbers)
        with self._database.write() as connection:
            for table, column in OF_JOBS:
                connection.execute(sa.delete(table).where(column == job))

    def sweep(self) -> int:
        """Delete the jobs that finished longer ago than they are kept.

        One that cannot be deleted is logged, and does not keep the others; the next sweep tries it again.

        Returns:
            How many were deleted.

        Raises:
            StorageError: The database cannot even be asked which these are.
        """
        with explained(), self._database.read() as connection:
            old = self._database.now - self._settings.jobs_retention
            expired = connection.execute(sa.select(jobs.c.id).where(jobs.c.finished < old)).scalars().all()
        deleted = 0
        for job in expired:
            try:
                with explained():
                    self.delete(job)
            except JobError as error:
                logger.warning("Job %s was kept long enough and cannot be deleted: %s", job, error.message)
            else:
                deleted += 1
        if deleted:
            logger.info("Deleted %d job(s) that had been kept long enough", deleted)
        return deleted

    def unfinished(self) -> int:
        """How many jobs wait or run."""
        with explained(), self._database.read() as connection:
            return count_unfinished(connection)

    def counts(self) -> dict[str, int]:
        """How many jobs there are, by state."""
        with explained(), self._database.read() as connection:
            found = connection.execute(sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state))
            return {row[0]: row[1] for row in found}

    def _check_disk(self, size: int) -> None:
        free = self._database.free()
        if free is not None and free < size + _RESERVE:
            raise StorageFullError(
                "There is no room left on the disk where jobs are kept.",
                hint="Delete jobs that are finished, or ask the operator for more room.",
            )

    def _check_room(self, connection: sa.Connection, size: int) -> None:
        waiting = count_unfinished(connection)
        if waiting >= self._settings.jobs_queue:
            raise TooManyJobsError(
                f"{waiting} jobs are unfinished, and no more are taken on.",
                hint="Come back when some of them are done, or cancel one.",
            )
        held = int(connection.execute(sa.select(sa.func.coalesce(sa.func.sum(jobs.c.size), 0))).scalar() or 0)
        if held + size > self._settings.jobs_quota:
            raise QuotaError(
                f"This job may come to hold {size} bytes; of the {int(self._settings.jobs_quota)} that all "
                f"jobs together may hold, {held} are taken.",
                hint="Delete jobs that are finished, or send fewer images.",
            )

    def _insert(
        self,
        connection: sa.Connection,
        job: str,
        campaign: Campaign,
        size: int,
        owner: str,
        request_id: str,
    ) -> None:
        planned = list(campaign.chunks(self._settings.jobs_chunk_images))
        connection.execute(
            sa.insert(jobs).values(
                id=job,
                owner=owner,
                name=campaign.name,
                state="queued",
                created=self._database.now,
                images=len(campaign.items),
                labels=campaign.labels,
                float_images=campaign.float_images,
                chunks=len(planned),
                size=size,
                stored=sum(len(item.content) for item in campaign.items),
                request_id=request_id,
            )
        )
        connection.execute(sa.insert(runs), [_run_row(job, n, campaign) for n in range(len(campaign.runs))])
        connection.execute(
            sa.insert(images),
            [
                {
                    "job": job,
                    "image": number,
                    "name": item.name,
                    "label": item.label,
                    "exact": item.exact,
                    "content": item.content,
                }
                for number, item in enumerate(campaign.items)
            ],
        )
        connection.execute(
            sa.insert(chunks),
            [
                {
                    "job": job,
                    "chunk": number,
                    "run": chunk.run,
                    "first": chunk.first,
                    "count": chunk.count,
                    "cost": chunk.cost,
                }
                for number, chunk in enumerate(planned)
            ],
        )
        add_event(connection, job, "queued", {"state": "queued", "images": len(campaign.items)})
        self._queue.put(connection, job, range(len(planned)))


def finish(connection: sa.Connection, database: Database, job: str, state: str, error: str = "") -> bool:
    """Put a job into a state in which it ends, and say so; whether it was not in one already."""
    changed = connection.execute(
        sa.update(jobs)
        .where(jobs.c.id == job, jobs.c.state.in_(UNFINISHED))
        .values(state=state, error=error, finished=database.now, size=jobs.c.stored)
    )
    if changed.rowcount == 0:
        return False
    add_event(connection, job, state, {"state": state, **({"error": error} if error else {})})
    return True


def add_event(connection: sa.Connection, job: str, kind: str, data: dict[str, Any]) -> None:
    """Number an event of a job and keep it; the job's row is locked until the transaction ends."""
    number = connection.execute(
        sa.update(jobs).where(jobs.c.id == job).values(events=jobs.c.events + 1).returning(jobs.c.events)
    ).scalar_one()
    connection.execute(sa.insert(events).values(job=job, number=number, kind=kind, data=json.dumps(data)))


def count_unfinished(connection: sa.Connection) -> int:
    """How many jobs wait or run."""
    found = sa.select(sa.func.count()).select_from(jobs).where(jobs.c.state.in_(UNFINISHED))
    return int(connection.execute(found).scalar_one())


def is_id(job: str) -> bool:
    """Whether a job could be called so."""
    return _ID.fullmatch(job) is not None


def unknown(job: str) -> UnknownJobError:
    """The error of a job that there is not."""
    return UnknownJobError(f"There is no job '{job[:40]}'.", hint="GET /v1/jobs lists them.")


def _find_submitted(connection: sa.Connection, owner: str, token: Idempotency) -> Submitted | None:
    found = connection.execute(
        sa.select(idempotency.c.fingerprint, idempotency.c.job).where(
            idempotency.c.owner == owner, idempotency.c.key == token.key
        )
    ).one_or_none()
    if found is None:
        return None
    if found.fingerprint != token.fingerprint:
        raise KeyReusedError(
            f"The Idempotency-Key '{token.key[:80]}' was used for another campaign, job {found.job}.",
            hint="Use a new key for every campaign, and the same one only to send the same again.",
        )
    return Submitted(found.job, known=True)


def _run_row(job: str, number: int, campaign: Campaign) -> dict[str, Any]:
    run = campaign.runs[number]
    return {
        "job": job,
        "run": number,
        "model": run.bundle.name,
        "version": run.bundle.version,
        "digest": run.bundle.manifest.digest,
        "defence": run.defence,
        "name": run.name,
        "attack": run.chosen.attack.name,
        "parameters": run.parameters,
        "eot": run.chosen.eot,
        "judged": campaign.is_judged(run),
    }


def _chunks(connection: sa.Connection, job: str, *, unfinished: bool = False) -> list[int]:
    found = sa.select(chunks.c.chunk).where(chunks.c.job == job)
    if unfinished:
        found = found.where(chunks.c.state != "done")
    return list(connection.execute(found).scalars())
