"""Jobs take turns, are swept when they were kept long enough, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from support.jobs import Backlog
from support.postgres import PostgresServer

from serving.jobs.database import Database
from serving.jobs.errors import StorageError
from serving.jobs.tables import OF_JOBS, jobs, schema


def rows_left(backlog: Backlog) -> int:
    """Rows of any job in any table, DBOS's included."""
    with backlog.database.read() as connection:
        prefix = "" if backlog.database.is_sqlite else "dbos."
        statuses = connection.execute(sa.text(f"SELECT count(*) FROM {prefix}workflow_status")).scalar_one()
        ours = [
            connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table, _ in OF_JOBS
        ]
        return int(statuses) + sum(ours)


def test_finished_jobs_are_swept_when_they_were_kept_long_enough(backlog: Backlog) -> None:
    old, new, waiting = (backlog.submit(8, steps=2) for _ in range(3))
    for job in (old, new):
        backlog.carry_out(job)
    with backlog.database.write() as connection:
        kept = backlog.settings.jobs_retention
        for job, age in ((old, kept + 60), (new, kept - 60)):
            connection.execute(sa.update(jobs).where(jobs.c.id == job).values(finished=jobs.c.finished - age))
        connection.execute(sa.update(jobs).where(jobs.c.id == waiting).values(created=0.0))
    assert backlog.store.sweep() == 1
    assert backlog.store.sweep() == 0
    assert [job.id for job in backlog.reader.page(None, limit=9, before=None, state=None).jobs] == [
        new,
        waiting,
    ]


def test_deleted_job_leaves_nothing_behind(backlog: Backlog) -> None:
    job = backlog.submit(8, steps=2)
    backlog.carry_out(job)
    assert rows_left(backlog) > 10
    assert backlog.store.remove(job, None) is True
    assert rows_left(backlog) == 0


def test_jobs_take_turns_so_that_a_small_one_does_not_wait_for_a_large_one(backlog: Backlog) -> None:
    large = backlog.submit(40, steps=2)
    small = backlog.submit(8, steps=2)
    prefix = "" if backlog.database.is_sqlite else "dbos."
    with backlog.database.read() as connection:
        found = connection.execute(
            sa.text(
                f"SELECT workflow_uuid FROM {prefix}workflow_status WHERE status = 'ENQUEUED' "
                "ORDER BY priority, created_at"
            )
        ).scalars()
        order = [name.split(".")[0] for name in found]
    assert order[:4].count(small) == 2
    assert (order.count(large), order.count(small)) == (10, 2)


def test_what_a_job_counts_for_covers_what_it_comes_to_hold(backlog: Backlog) -> None:
    job = backlog.submit(16, steps=2, float_images=True)
    reserved = backlog.reader.row(job, None).size
    backlog.carry_out(job)
    row = backlog.reader.row(job, None)
    assert row.stored == row.size < reserved


def test_another_owners_job_is_not_there(backlog: Backlog) -> None:
    job = backlog.submit(4, steps=2)
    assert backlog.reader.page("someone", limit=9, before=None, state=None).jobs == []
    assert backlog.reader.get(job, "").id == job


def test_database_of_another_version_is_refused_in_words(backlog: Backlog) -> None:
    with backlog.database.write() as connection:
        connection.execute(sa.update(schema).values(version=99))
    another = Database(backlog.settings.jobs_database)
    try:
        with pytest.raises(StorageError, match="another version of Holdfast"):
            another.prepare()
    finally:
        another.close()


@pytest.fixture
def on_sqlite(tmp_path: Path, tiny_store: Path) -> Iterator[Backlog]:
    made = Backlog(f"sqlite:///{tmp_path}/jobs.sqlite", tiny_store)
    yield made
    made.close()


def test_chunks_cover_every_image_of_every_run_once_and_runs_advance_together(on_sqlite: Backlog) -> None:
    job = on_sqlite.submit(50, attacks=["pgd", "fgsm", "autoattack"], steps=3)
    rows = on_sqlite.chunks(job)
    for run in range(3):
        images = [n for row in rows if row.run == run for n in range(row.first, row.first + row.count)]
        assert images == list(range(50))
    assert {row.run for row in rows[:3]} == {0, 1, 2}


def test_costly_attacks_take_fewer_images_at_a_time(on_sqlite: Backlog) -> None:
    job = on_sqlite.submit(50, attacks=["pgd"], steps=10_000)
    cheap = on_sqlite.submit(50, attacks=["pgd"], steps=3)
    assert {row.count for row in on_sqlite.chunks(job)[:-1]} == {4}
    assert len(on_sqlite.chunks(cheap)) == 13  # of four, as this backlog is set up


def test_jobs_are_kept_in_a_database_of_no_encoding(postgres: PostgresServer, tiny_store: Path) -> None:
    url = postgres.make_database("ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    backlog = Backlog(url, tiny_store)
    try:
        job = backlog.submit(2, steps=1)
        backlog.carry_out(job)
        assert backlog.state(job) == "succeeded"
    finally:
        backlog.close()
