"""Asking about jobs: what the gateway reads from the database."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from serving.jobs.database import Database, explained
from serving.jobs.store import FINISHED, is_id, unknown
from serving.jobs.tables import chunks, events, jobs, runs, workers
from serving.jobs.views import Event, Happened, Job, JobList, JobSummary, Links, Progress, RunProgress
from serving.settings import Settings

#: Events of a job that are read at once: one of the largest jobs has some ten thousand.
_MOST_EVENTS = 500


class JobReader:
    """Reads what is known of jobs.

    Args:
        database: Prepared.
        settings: For how long jobs and leases last.
    """

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings

    def get(self, job: str, owner: str | None) -> Job:
        """One job.

        Args:
            job: Which.
            owner: Whose it has to be; ``None`` for anyone's.

        Raises:
            UnknownJobError: There is none.
        """
        with explained(), self._database.read() as connection:
            row = self._row(connection, job, owner)
            found = [_run(run) for run in _runs(connection, job)]
            progress = self._progress(connection, row)
            note = self._note(connection, row)
        return Job(**self._summary(row, progress), labels=row.labels, note=note, runs=found)

    def page(self, owner: str | None, *, limit: int, before: str | None, state: str | None) -> JobList:
        """Jobs, newest first.

        Args:
            owner: Whose; ``None`` for all.
            limit: How many at most.
            before: Only those that are older than this one.
            state: Only those in this state.

        Raises:
            UnknownJobError: There is no job ``before``.
        """
        with explained(), self._database.read() as connection:
            query = sa.select(jobs).order_by(jobs.c.created.desc(), jobs.c.id.desc()).limit(limit + 1)
            if owner is not None:
                query = query.where(jobs.c.owner == owner)
            if state is not None:
                query = query.where(jobs.c.state == state)
            if before is not None:
                place = self._row(connection, before, owner)
                older = sa.tuple_(jobs.c.created, jobs.c.id) < sa.tuple_(
                    sa.literal(place.created), sa.literal(place.id)
                )
                query = query.where(older)
            rows = connection.execute(query).all()
            shown = [
                JobSummary(**self._summary(row, self._progress(connection, row))) for row in rows[:limit]
            ]
        address = None
        if len(rows) > limit:
            chosen = f"&state={state}" if state else ""
            address = f"/v1/jobs?limit={limit}&before={shown[-1].id}{chosen}"
        return JobList(jobs=shown, next=address)

    def events(self, job: str, owner: str | None, after: int) -> Happened:
        """What happened to a job after an event: the first few hundred things, and whether there are others.

        Raises:
            UnknownJobError: There is no such job, or no longer.
        """
        with explained(), self._database.read() as connection:
            row = self._row(connection, job, owner)
            found = connection.execute(
                sa.select(events)
                .where(events.c.job == job, events.c.number > after)
                .order_by(events.c.number)
                .limit(_MOST_EVENTS)
            ).all()
        last = found[-1].number if found else after
        told = [Event(number=each.number, kind=each.kind, data=json.loads(each.data)) for each in found]
        more = last < row.events
        return Happened(told, more, over=row.state in FINISHED and not more)

    def row(self, job: str, owner: str | None) -> sa.Row[Any]:
        """A job's row.

        Raises:
            UnknownJobError: There is none.
        """
        with explained(), self._database.read() as connection:
            return self._row(connection, job, owner)

    def _row(self, connection: sa.Connection, job: str, owner: str | None) -> sa.Row[Any]:
        if not is_id(job):  # of which a database may not even be asked
            raise unknown(job)
        mine = sa.true() if owner is None else jobs.c.owner == owner
        row = connection.execute(
            sa.select(jobs, self._database.now.label("now")).where(jobs.c.id == job, mine)
        ).one_or_none()
        if row is None:
            raise unknown(job)
        return row

    def _summary(self, row: sa.Row[Any], progress: Progress) -> dict[str, Any]:
        expires = None if row.finished is None else row.finished + self._settings.jobs_retention
        return {
            "id": row.id,
            "name": row.name,
            "state": row.state,
            "created": moment(row.created),
            "started": moment(row.started),
            "finished": moment(row.finished),
            "expires": moment(expires),
            "images": row.images,
            "progress": progress,
            "error": row.error,
            "links": links(row.id),
        }

    def _progress(self, connection: sa.Connection, row: sa.Row[Any]) -> Progress:
        done = chunks.c.state == "done"
        sums = connection.execute(
            sa.select(
                sa.func.sum(chunks.c.count),
                sa.func.sum(sa.case((done, chunks.c.count), else_=0)),
                sa.func.sum(sa.case((done, chunks.c.cost), else_=0.0)),
                sa.func.sum(sa.case((done, 0.0), else_=chunks.c.cost)),
            ).where(chunks.c.job == row.id)
        ).one()
        total, finished, spent, left = (value or 0 for value in sums)
        eta = None
        if row.state == "running" and spent > 0:
            now = connection.execute(sa.select(self._database.now)).scalar_one()
            eta = round((now - row.started) * left / spent, 1)
        return Progress(
            done=finished, total=total, share=round(finished / total, 4) if total else 0.0, eta_seconds=eta
        )

    def _note(self, connection: sa.Connection, row: sa.Row[Any]) -> str:
        if row.state in FINISHED:
            return ""
        alive = connection.execute(
            sa.select(sa.func.count())
            .select_from(workers)
            .where(
                workers.c.state == "alive", workers.c.seen > self._database.now - self._settings.jobs_lease
            )
        ).scalar_one()
        if not alive:
            return "No worker is there at the moment; the job goes on as soon as one is."
        return "" if row.state == "running" else "It waits for a worker."


def links(job: str) -> Links:
    """Where a job, its events and its result are."""
    address = f"/v1/jobs/{job}"
    return Links(
        self=address, events=f"{address}/events", result=f"{address}/result", images=f"{address}/images"
    )


def _runs(connection: sa.Connection, job: str) -> Sequence[sa.Row[Any]]:
    done = chunks.c.state == "done"

    def summed(column: sa.ColumnElement[int]) -> sa.ColumnElement[int]:
        return sa.func.sum(sa.case((done, column), else_=0))

    return connection.execute(
        sa.select(
            runs,
            sa.func.sum(chunks.c.count).label("images"),
            summed(chunks.c.count).label("images_done"),
            summed(chunks.c.fooled).label("fooled"),
            summed(chunks.c.wrong_before).label("wrong_before"),
            summed(chunks.c.successes).label("successes"),
        )
        .join(chunks, (chunks.c.job == runs.c.job) & (chunks.c.run == runs.c.run))
        .where(runs.c.job == job)
        .group_by(*runs.c)
        .order_by(runs.c.run)
    ).all()


def _run(row: sa.Row[Any]) -> RunProgress:
    robust = None
    if row.judged and row.images_done:
        robust = round(1 - row.successes / row.images_done, 6)
    return RunProgress(
        model=row.model,
        version=row.version,
        defence=row.defence,
        attack=row.name,
        images_done=row.images_done,
        images=row.images,
        fooled=row.fooled,
        wrong_before=row.wrong_before,
        robust_accuracy=robust,
    )


def moment(seconds: float | None) -> datetime | None:
    """A time of the database's, as the answers have it."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
