"""Workers are killed, stopped and told to end, and every job is finished, with nothing done twice in it."""

from __future__ import annotations

import signal
import time

import pytest
from support.jobs import LEASE, LONG, PATIENCE, Backlog, wait_until

from holdfast.attacks import attack, find
from holdfast.attacks.onnx_defended import open_oracle
from holdfast.bundle import ModelStore
from holdfast.images import decode

#: Seconds that a job may take beyond what it waits for, on a machine that has other things to do.
MARGIN = 20.0


def outcomes(backlog: Backlog, job: str) -> list[tuple[str, str, int, float]]:
    """What came of every image, in order."""
    (run,) = backlog.result(job).runs
    return [(each.image, each.outcome, each.queries, each.reached.linf) for each in run.record.results]


def test_worker_killed_in_the_middle_costs_nothing_but_its_last_chunk(backlog: Backlog) -> None:
    job = backlog.submit(24)
    with backlog.worker() as first:
        backlog.wait_for_chunks(job, 2)
        first.kill()
        name = first.id
    before = backlog.records(job)
    finished = {row.chunk for row in backlog.chunks(job) if row.state == "done"}
    assert 2 <= len(finished) < 6
    with backlog.worker():
        backlog.wait_for(job)
    after = backlog.records(job)
    # What was finished is as it was, to the byte, and still its finisher's; all else is there, once.
    assert [each for each in after if each[0] in finished] == before
    rows = backlog.chunks(job)
    assert {row.chunk for row in rows if row.worker == name} == finished
    assert all(row.epoch == 1 for row in rows if row.chunk in finished)
    assert [number for number, _, _ in after] == list(range(6))
    assert backlog.kinds(job) == ["queued", "running", *["progress"] * 6, "succeeded"]
    assert len({image for image, *_ in outcomes(backlog, job)}) == 24


def test_result_in_chunks_is_that_of_one_attack_on_all_images(backlog: Backlog) -> None:
    job = backlog.submit(10, attacks=[{"attack": "pgd", "parameters": {"epsilon": "60/255", "steps": 7}}])
    with backlog.worker("--until-idle", "0.5") as worker:
        backlog.wait_for(job)
        assert worker.process.wait(PATIENCE) == 0
    bundle = ModelStore(backlog.model_store).open("tiny")
    images = [decode(row.content, bundle.manifest.input) for row in _images(backlog, job)]
    import numpy as np

    parameters = find("pgd").parameters.model_validate({"epsilon": "60/255", "steps": 7})
    whole = attack(open_oracle(bundle, threads=1), np.stack(images), np.zeros(10, dtype=np.int64), parameters)
    found = outcomes(backlog, job)
    assert [queries for _, _, queries, _ in found] == whole.queries.tolist()
    assert [linf for *_, linf in found] == pytest.approx(whole.linf.tolist(), abs=1e-6)


def _images(backlog: Backlog, job: str) -> list[object]:
    import sqlalchemy as sa

    from serving.jobs.tables import images

    with backlog.database.read() as connection:
        rows = sa.select(images).where(images.c.job == job).order_by(images.c.image)
        return list(connection.execute(rows).all())


def test_worker_that_never_comes_back_is_noticed_and_its_work_goes_on_elsewhere(backlog: Backlog) -> None:
    with backlog.worker() as victim:
        job = backlog.submit(4, **LONG)
        backlog.wait_for_running(job)
        with backlog.worker() as survivor:
            victim.kill()
            survivor.says(f"Took back the work of {victim.id}", LEASE + MARGIN)
            wait_until(lambda: backlog.chunks(job)[0].worker == survivor.id, "the survivor to begin")
            assert [(row.epoch, row.state) for row in backlog.chunks(job)] == [(2, "running")]
            assert backlog.state(job) == "running"
            backlog.store.remove(job, None)


def test_worker_that_was_stopped_and_comes_back_changes_nothing_and_works_on(backlog: Backlog) -> None:
    job = backlog.submit(8)
    with backlog.worker() as sleeper:
        backlog.wait_for_running(job)
        sleeper.send(signal.SIGSTOP)
        name = sleeper.id
        with backlog.worker():
            backlog.wait_for(job)
        before = backlog.records(job)
        sleeper.send(signal.SIGCONT)
        sleeper.says("it begins anew")
        # It is there again, under another name, and does its share.
        another = backlog.submit(4, steps=3)
        backlog.wait_for(another)
        assert sleeper.id != name
        assert {row.worker for row in backlog.chunks(another)} == {sleeper.id}
    assert backlog.records(job) == before
    assert backlog.kinds(job) == ["queued", "running", "progress", "progress", "succeeded"]


def test_two_workers_share_the_chunks_of_one_job(backlog: Backlog) -> None:
    with backlog.worker() as one, backlog.worker() as two:
        job = backlog.submit(40)
        backlog.wait_for(job)
        shares = [row.worker for row in backlog.chunks(job)]
    assert set(shares) == {one.id, two.id}
    assert min(shares.count(one.id), shares.count(two.id)) >= 2


def test_cancel_reaches_a_worker_between_two_steps_and_it_goes_on_with_the_next_job(backlog: Backlog) -> None:
    with backlog.worker() as worker:
        job = backlog.submit(8, **LONG)
        backlog.wait_for_running(job)
        assert backlog.store.remove(job, None) is False
        worker.says(f"Job {job} is over; left chunk 0", 5 + MARGIN)
        assert backlog.state(job) == "cancelled"
        another = backlog.submit(4, steps=3)
        backlog.wait_for(another)
        assert backlog.kinds(job) == ["queued", "running", "cancelled"]
        assert backlog.store.remove(job, None) is True
        assert worker.process.poll() is None


def test_worker_told_to_end_gives_back_what_it_cannot_finish(backlog: Backlog) -> None:
    job = backlog.submit(4, **LONG)
    with backlog.worker() as worker:
        backlog.wait_for_running(job)
        worker.send(signal.SIGTERM)
        began = time.monotonic()
        assert worker.process.wait(PATIENCE) == 0
        assert time.monotonic() - began < 1 + MARGIN
    assert [(row.state, row.attempts) for row in backlog.chunks(job)] == [("waiting", 0)]
    with backlog.worker():
        assert backlog.wait_for_running(job).epoch == 3
        backlog.store.remove(job, None)


def test_worker_told_to_end_finishes_what_it_soon_can(backlog: Backlog) -> None:
    job = backlog.submit(12)
    with backlog.worker(HOLDFAST_JOBS_DRAIN="60") as worker:
        row = backlog.wait_for_running(job)
        worker.send(signal.SIGTERM)
        assert worker.process.wait(PATIENCE) == 0
    assert backlog.chunks(job)[row.chunk].state == "done"
    assert backlog.done(job) < 3
    assert {each.state for each in backlog.chunks(job)} == {"done", "waiting"}


def test_model_that_has_changed_fails_the_job_in_words(backlog: Backlog) -> None:
    import sqlalchemy as sa

    from serving.jobs.tables import runs

    job = backlog.submit(8, steps=3)
    with backlog.database.write() as connection:
        connection.execute(sa.update(runs).values(digest="0" * 64))
    with backlog.worker("--until-idle", "1") as worker:
        backlog.wait_for(job, "failed")
        assert worker.process.wait(PATIENCE) == 0
    assert backlog.job(job).error.startswith("Model 'tiny' version 1 has changed")
    assert backlog.kinds(job)[-1] == "failed"
