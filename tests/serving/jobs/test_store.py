"""Jobs take turns, are swept when they were kept long enough, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError
from support.jobs import Backlog
from support.postgres import PostgresServer

from holdfast.errors import UsageError
from serving.jobs.database import Database
from serving.jobs.errors import StorageError
from serving.jobs.plan import MOST_CHUNKS
from serving.jobs.tables import OF_JOBS, chunks, jobs, schema


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


def statuses(backlog: Backlog) -> list[str]:
    """What DBOS says of every chunk that it knows."""
    prefix = "" if backlog.database.is_sqlite else "dbos."
    with backlog.database.read() as connection:
        found = connection.execute(sa.text(f"SELECT status FROM {prefix}workflow_status"))
        return list(found.scalars())


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


def test_job_that_cannot_be_deleted_does_not_keep_the_others(
    backlog: Backlog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = [backlog.submit(4, steps=2) for _ in range(3)]
    with backlog.database.write() as connection:
        connection.execute(sa.update(jobs).values(state="cancelled", finished=0.0))
    forget, stuck = backlog.queue.forget, made[1]

    def fail_for_one(job: str, numbers: Iterable[int]) -> None:
        if job == stuck:
            raise OperationalError("DELETE", {}, Exception("this one is stuck"))
        forget(job, numbers)

    monkeypatch.setattr(backlog.queue, "forget", fail_for_one)
    assert backlog.store.sweep() == 2
    assert [job.id for job in backlog.reader.page(None, limit=9, before=None, state=None).jobs] == [stuck]
    assert f"Job {stuck} was kept long enough and cannot be deleted" in caplog.text
    monkeypatch.undo()
    assert backlog.store.sweep() == 1
    assert rows_left(backlog) == 0


def test_job_of_more_chunks_than_a_statement_may_name_is_cancelled_and_deleted(backlog: Backlog) -> None:
    """PostgreSQL takes 65,535 parameters; SQLite has a limit too, which depends on who built it."""
    job = backlog.submit(4, steps=2)
    row = {"job": job, "run": 0, "first": 0, "count": 4, "cost": 1.0}
    with backlog.database.write() as connection:
        connection.execute(sa.insert(chunks), [{**row, "chunk": number} for number in range(1, 70_000)])
    assert backlog.store.remove(job, None) is False
    assert backlog.state(job) == "cancelled"
    assert statuses(backlog) == ["CANCELLED"]
    assert backlog.store.remove(job, None) is True
    assert rows_left(backlog) == 0


def test_every_batch_of_chunks_is_cancelled(backlog: Backlog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.jobs.queue._AT_ONCE", 2)
    job = backlog.submit(20, steps=2)
    assert statuses(backlog) == ["ENQUEUED"] * 5
    backlog.store.remove(job, None)
    assert statuses(backlog) == ["CANCELLED"] * 5


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


def test_costly_attacks_on_many_images_take_more_of_them_at_a_time(on_sqlite: Backlog) -> None:
    """Else this job would be of 160,000 chunks."""
    campaign = on_sqlite.campaign(10_000, attacks=same_attack(64))
    planned = list(campaign.chunks(256))
    assert len(planned) <= MOST_CHUNKS
    assert max(chunk.count for chunk in planned) < 256
    # Costly runs beside cheap ones take more only as far as that is needed.
    campaign = on_sqlite.campaign(2_500, attacks=same_attack(8))
    assert {chunk.count for chunk in campaign.chunks(64) if chunk.first == 0} == {4}
    campaign = on_sqlite.campaign(2_500, attacks=[*same_attack(8), "fgsm"])
    assert {chunk.run: chunk.count for chunk in campaign.chunks(64) if not chunk.first} == dict.fromkeys(
        range(8), 5
    ) | {8: 64}


def test_no_chunk_takes_more_images_than_go_through_a_model_at_once(on_sqlite: Backlog) -> None:
    campaign = on_sqlite.campaign(10_000, attacks=same_attack(64))
    planned = list(campaign.chunks(64))
    assert {chunk.count for chunk in planned} == {64, 10_000 % 64}
    assert len(planned) == 64 * 157


def same_attack(count: int) -> list[dict[str, Any]]:
    """One that takes so many passes that a chunk of it has as few images as chunks have, several times."""
    return [
        {"attack": "pgd", "name": f"pgd-{n}", "parameters": {"steps": 5_000, "epsilon": "1/255"}}
        for n in range(count)
    ]


@pytest.mark.parametrize("password", ["half@s3cr3t", "half@other:s3cr3t"])
def test_password_that_is_not_escaped_is_refused_and_not_shown(password: str) -> None:
    with pytest.raises(UsageError, match="no address of a database") as caught:
        Database(f"postgresql://holdfast:{password}@db/holdfast")
    assert "s3cr3t" not in str(caught.value)
    assert "%40 for @" in caught.value.hint


def test_jobs_are_kept_in_a_database_of_no_encoding(postgres: PostgresServer, tiny_store: Path) -> None:
    url = postgres.make_database("ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    backlog = Backlog(url, tiny_store)
    try:
        job = backlog.submit(2, steps=1)
        backlog.carry_out(job)
        assert backlog.state(job) == "succeeded"
    finally:
        backlog.close()
