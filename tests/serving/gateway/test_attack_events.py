"""An attack's server-sent events: what is told, in which order, and how a stream ends."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.attack_events import ATTACK, watching
from support.gated import eventually
from support.gateway import PNG, Gateway, assert_problem, gateway
from support.tiny import solid_png

from serving.attacking.pool import AttackPool
from serving.gateway.attack import streaming
from serving.gateway.attack.schemas import AttackAnswer, AttackProgress, AttackWaiting
from serving.gateway.attack.streaming import Feed

pytestmark = pytest.mark.anyio

IMAGE = solid_png((153, 148, 0))
EVENTS = {**PNG, "Accept": "text/event-stream"}
#: Nothing within this budget fools the model, so every step is taken.
LONG = {"epsilon": 0.001, "steps": 800, "stop_at_success": "false"}
ENDLESS = {**LONG, "steps": 10_000, "restarts": 100}


@pytest.fixture(scope="module")
async def tiny(tiny_store: Path) -> AsyncIterator[Gateway]:
    """A gateway on which one attack runs, two may wait, and each may cost what it likes."""
    settings = {"attack_budget": 1e9, "attack_workers": 1, "attack_queue": 2, "attack_deadline": 3600}
    async with gateway(tiny_store, **settings) as started:
        assert (await ask(started)).status_code == 200  # its worker is there, and the model measured
        yield started


def pool_of(tiny: Gateway) -> AttackPool:
    pool = tiny.services.attacks.attacker
    assert isinstance(pool, AttackPool)
    return pool


async def ask(tiny: Gateway, headers: dict[str, str] = PNG, **query: Any) -> httpx.Response:
    return await tiny.client.post(ATTACK, content=IMAGE, headers=headers, params=query)


async def requests_with(tiny: Gateway, status: int) -> float:
    """How many attacks ended with a status, by the metrics."""
    route = f'route="/v1/models/{{model}}/attack",status="{status}"'
    return sum(
        float(line.rpartition(" ")[2])
        for line in (await tiny.client.get("/metrics")).text.splitlines()
        if line.startswith("holdfast_request_duration_seconds_count") and route in line
    )


def lasting(answer: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on the clock."""
    return {name: each for name, each in answer.items() if name not in ("timings", "request_id", "cost")}


async def test_progress_grows_and_the_answer_comes_last(tiny: Gateway) -> None:
    ordinary = await ask(tiny, **LONG)
    async with watching(tiny, IMAGE, **LONG) as watched:
        await watched.ended()
    assert watched.status == 200
    assert watched.headers["content-type"].startswith("text/event-stream")
    assert watched.headers["cache-control"] == "no-store"
    assert watched.headers["x-accel-buffering"] == "no"
    assert watched.headers["vary"] == "Accept"
    assert "content-length" not in watched.headers
    *told, last = watched.kinds
    assert set(told) == {"progress"}
    assert last == "result"
    [result] = watched.of("result")
    assert lasting(result) == lasting(ordinary.json())
    assert result["request_id"] == watched.headers["x-request-id"]
    raw = watched.body.rpartition(b"event: result\ndata: ")[2]
    AttackAnswer.model_validate_json(raw, strict=True)
    steps = watched.of("progress")
    assert {each["total"] for each in steps} == {800}
    for before, after in pairwise(steps):
        assert before["done"] < after["done"] <= 800
        assert before["seconds"] < after["seconds"]
    # The end is not held back, and what is new then is told with it; everything else takes its time.
    assert all(after - before > 0.9 * streaming.EVERY for before, after in pairwise(watched.times[:-2]))


async def test_whoever_waits_is_told_how_many_are_before(tiny: Gateway) -> None:
    async with watching(tiny, IMAGE, **ENDLESS) as first:
        await eventually(lambda: "progress" in first.kinds)
        async with watching(tiny, IMAGE, **ENDLESS) as second, watching(tiny, IMAGE) as third:
            await eventually(lambda: bool(second.events and third.events))
            assert second.events == [("waiting", {"waiting": 1})]
            assert third.events == [("waiting", {"waiting": 2})]
            assert_problem(await ask(tiny, EVENTS), 503, "overloaded")
            first.hang_up()
            await eventually(lambda: "progress" in second.kinds)
            await eventually(lambda: len(third.events) == 2)
            second.hang_up()
            await third.ended()
    assert [each["waiting"] for each in second.of("waiting")] == [1, 0]
    assert [each["waiting"] for each in third.of("waiting")] == [2, 1, 0]
    assert third.kinds[-1] == "result"


async def test_who_hangs_up_in_the_middle_frees_the_place(tiny: Gateway) -> None:
    before = await requests_with(tiny, 499)
    [pid] = pool_of(tiny).pids
    admission = tiny.services.admission
    async with watching(tiny, IMAGE, **ENDLESS) as watched:
        await eventually(lambda: len(watched.of("progress")) > 1)
        assert (pool_of(tiny).running, admission.requests) == (1, 1)
        watched.hang_up()
        await watched.ended()
        await eventually(lambda: pool_of(tiny).running == 0)
    assert set(watched.kinds) == {"progress"}
    assert (admission.requests, admission.held) == (0, 0)
    assert pool_of(tiny).pids == [pid]  # it stopped between two steps
    assert await requests_with(tiny, 499) == before + 1


async def test_who_hangs_up_while_waiting_or_before_an_event_leaves_nothing_behind(tiny: Gateway) -> None:
    async with watching(tiny, IMAGE, **ENDLESS) as first:
        await eventually(lambda: bool(first.events))
        os.kill(pool_of(tiny).pids[0], signal.SIGSTOP)  # nothing more is told of the first
        async with watching(tiny, IMAGE) as second:
            await eventually(lambda: bool(second.events))
        assert pool_of(tiny).waiting == 0
        os.kill(pool_of(tiny).pids[0], signal.SIGCONT)
    await eventually(lambda: pool_of(tiny).running == 0)
    os.kill(pool_of(tiny).pids[0], signal.SIGSTOP)
    async with watching(tiny, IMAGE) as early:
        await eventually(lambda: pool_of(tiny).running == 1)
        await asyncio.sleep(0.05)
    assert early.status == 499
    os.kill(pool_of(tiny).pids[0], signal.SIGCONT)
    await eventually(lambda: pool_of(tiny).running == 0)
    assert tiny.services.admission.requests == 0


async def test_what_is_wrong_before_it_begins_has_its_own_status(tiny: Gateway, tiny_store: Path) -> None:
    for query, status, kind in (
        ({"attack": "nothing"}, 422, "attack-not-offered"),
        ({"step": "1"}, 422, "invalid-request"),
        ({"defence": "imt"}, 422, "defence-not-offered"),
        ({"loss": "so"}, 422, "attack-not-applicable"),
    ):
        assert_problem(await ask(tiny, EVENTS, **query), status, kind)
    broken = await tiny.client.post(ATTACK, content=IMAGE[:60], headers=EVENTS)
    assert_problem(broken, 422, "truncated-image")
    neither = await ask(tiny, {**PNG, "Accept": "text/plain"})
    problem = assert_problem(neither, 406, "not-acceptable")
    assert problem["offered"] == ["application/json", "image/png", "text/event-stream"]
    async with gateway(tiny_store, attack_budget=0.5) as frugal:
        assert_problem(await ask(frugal, EVENTS, **ENDLESS), 422, "attack-too-costly")


@pytest.fixture
def hasty(tiny: Gateway) -> Iterator[Gateway]:
    """The same gateway, on which an attack has little time."""
    services = tiny.services
    settings = services.settings.model_copy(update={"attack_deadline": 0.6})
    tiny.app.state.services = replace(services, settings=settings)
    yield tiny
    tiny.app.state.services = services


async def test_a_deadline_that_passes_in_the_middle_is_told_as_a_problem(
    hasty: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "holdfast.access")
    async with watching(hasty, IMAGE, **ENDLESS) as watched:
        await watched.ended()
    assert watched.status == 200
    assert watched.kinds[-1] == "problem"
    assert watched.kinds[0] == "progress"
    [problem] = watched.of("problem")
    assert (problem["status"], problem["type"]) == (504, "/problems#deadline-exceeded")
    assert "of 1,000,000 steps" in problem["detail"]
    assert problem["instance"] == ATTACK
    assert problem["request_id"] == watched.headers["x-request-id"]
    # Whoever watches the server sees what the ordinary answer would have been.
    assert await requests_with(hasty, 504) == 1
    logged = next(record for record in caplog.records if record.name == "holdfast.access")
    assert logged.__dict__["fields"]["status"] == 504


async def test_a_worker_that_dies_in_the_middle_is_told_as_a_problem(tiny: Gateway) -> None:
    [pid] = pool_of(tiny).pids
    async with watching(tiny, IMAGE, **ENDLESS) as watched:
        await eventually(lambda: "progress" in watched.kinds)
        os.kill(pid, signal.SIGKILL)
        await watched.ended()
    [problem] = watched.of("problem")
    assert (problem["status"], problem["type"]) == (503, "/problems#attack-interrupted")
    assert (await ask(tiny)).status_code == 200


async def test_what_nobody_foresaw_is_told_with_nothing_internal(
    tiny: Gateway, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*arguments: object) -> None:
        raise KeyError("a secret")

    monkeypatch.setattr(tiny.services.attacks, "_predict", fail)
    async with watching(tiny, IMAGE, **LONG) as watched:
        await watched.ended()
    [problem] = watched.of("problem")
    assert (problem["status"], problem["type"]) == (500, "/problems#internal-error")
    assert b"secret" not in watched.body
    assert "a secret" in caplog.text


async def test_a_stream_without_news_is_kept_alive(tiny: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "HEARTBEAT", 0.05)
    async with watching(tiny, IMAGE, **ENDLESS) as first:
        await eventually(lambda: bool(first.events))
        async with watching(tiny, IMAGE) as second:
            await eventually(lambda: second.body.count(b"\n\n: ") > 1)
    assert second.events == [("waiting", {"waiting": 1})]


async def test_slow_readers_are_told_the_newest_and_no_more_is_kept() -> None:
    feed = Feed()
    for number in range(1000):
        feed.waits(1000 - number)
        feed.advances(number, 1000, number / 10)
    waiting, progress = (event.split(b"data: ")[1] for event in feed.take())
    assert AttackWaiting.model_validate_json(waiting).waiting == 1
    assert AttackProgress.model_validate_json(progress).done == 999
    assert feed.take() == []
