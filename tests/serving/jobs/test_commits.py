"""A chunk is committed once, by the holder of its last claim, whoever else thinks to hold it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa
from support.jobs import Backlog

from holdfast.bundle import ModelStore
from holdfast.images import ImageLimits
from serving.jobs.chunk import Attacker
from serving.jobs.commits import MOST_ATTEMPTS, Claim, Commits, LeaseLostError, Outcome
from serving.jobs.tables import workers


def commits(backlog: Backlog, worker: str) -> Commits:
    backlog.leases.begin(worker)
    return Commits(backlog.database, worker)


def attack(backlog: Backlog, claim: Claim | None) -> Outcome:
    assert claim is not None
    attacker = Attacker(ModelStore(backlog.model_store), threads=1, limits=ImageLimits())
    return attacker.carry_out(claim, lambda: None)


def test_claim_that_was_taken_over_cannot_be_committed(backlog: Backlog) -> None:
    job = backlog.submit(8, steps=2)
    slow, quick = commits(backlog, "slow"), commits(backlog, "quick")
    old = slow.claim(job, 0)
    new = quick.claim(job, 0)
    assert old is not None
    assert new is not None
    assert new.epoch == old.epoch + 1
    assert not slow.commit(old, attack(backlog, old))
    assert backlog.records(job) == []
    assert quick.commit(new, attack(backlog, new))
    assert not slow.commit(old, attack(backlog, old))
    assert not quick.commit(new, attack(backlog, new))
    assert backlog.done(job) == 1
    assert len(backlog.records(job)) == 1


def test_worker_that_was_given_up_can_neither_claim_nor_commit(backlog: Backlog) -> None:
    job = backlog.submit(8, steps=2)
    lost = commits(backlog, "lost")
    claim = lost.claim(job, 0)
    assert claim is not None
    with backlog.database.write() as connection:
        connection.execute(sa.update(workers).values(seen=workers.c.seen - 60))
    assert backlog.leases.give_up() == ["lost"]
    assert not backlog.leases.renew("lost")
    with pytest.raises(LeaseLostError):
        lost.commit(claim, attack(backlog, claim))
    with pytest.raises(LeaseLostError):
        lost.claim(job, 1)
    assert backlog.done(job) == 0
    assert {row.state for row in backlog.chunks(job)} == {"running", "waiting"}


def test_finished_chunk_is_not_claimed_again(backlog: Backlog) -> None:
    job = backlog.submit(8, steps=2)
    worker = commits(backlog, "worker")
    claim = worker.claim(job, 0)
    assert claim is not None
    worker.commit(claim, attack(backlog, claim))
    assert worker.claim(job, 0) is None


def test_chunk_that_ends_its_workers_fails_the_job_in_words(backlog: Backlog) -> None:
    job = backlog.submit(8, steps=2)
    worker = commits(backlog, "worker")
    for _ in range(MOST_ATTEMPTS):
        assert worker.claim(job, 1) is not None
    assert worker.claim(job, 1) is None
    found = backlog.job(job)
    assert found.state == "failed"
    assert found.error == "Images 4 to 7 ended their worker 5 times."
    assert backlog.kinds(job)[-1] == "failed"
    assert worker.claim(job, 0) is None


def test_chunk_that_is_given_back_is_not_held_against_anyone(backlog: Backlog) -> None:
    job = backlog.submit(4, steps=2)
    worker = commits(backlog, "worker")
    for _ in range(MOST_ATTEMPTS + 3):
        assert worker.claim(job, 0) is not None
        worker.release()
    assert backlog.state(job) == "running"
    assert [(row.state, row.attempts) for row in backlog.chunks(job)] == [("waiting", 0)]


def test_cancelled_job_takes_no_more_results(backlog: Backlog) -> None:
    job = backlog.submit(8, steps=2)
    worker = commits(backlog, "worker")
    claim = worker.claim(job, 0)
    assert claim is not None
    assert worker.is_wanted(job)
    assert backlog.store.remove(job, None) is False
    assert not worker.is_wanted(job)
    assert not worker.commit(claim, attack(backlog, claim))
    assert worker.claim(job, 1) is None
    assert (backlog.state(job), backlog.done(job)) == ("cancelled", 0)


def test_chunks_of_many_threads_are_counted_once_each_and_the_job_ends_once(backlog: Backlog) -> None:
    job = backlog.submit(32, steps=2)
    names = [f"worker-{number}" for number in range(4)]
    hands = [commits(backlog, name) for name in names]

    def carry_out(number: int) -> None:
        for row in backlog.chunks(job):
            claim = hands[number].claim(job, row.chunk)
            if claim is not None:
                hands[number].commit(claim, attack(backlog, claim))

    with ThreadPoolExecutor(len(names)) as executor:
        list(executor.map(carry_out, range(len(names))))
    assert (backlog.state(job), backlog.done(job)) == ("succeeded", 8)
    assert [number for number, _, _ in backlog.records(job)] == list(range(8))
    kinds = backlog.kinds(job)
    assert (kinds[:2], kinds.count("progress"), kinds[-1]) == (["queued", "running"], 8, "succeeded")
    assert kinds.count("succeeded") == 1
