"""What an attack may cost, who waits, who hangs up, what dies: the caller is told, and the rest goes on."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.attacking import soon
from support.gated import eventually
from support.gateway import PNG, Gateway, assert_problem, gateway
from support.tiny import solid_png

from serving.attacking.pool import AttackPool
from serving.gateway.access_log import CLIENT_GONE

pytestmark = pytest.mark.anyio

ATTACK = "/v1/models/tiny/attack"
IMAGE = solid_png((153, 148, 0))
ENDLESS = {"epsilon": 0.001, "steps": 10_000, "restarts": 100, "stop_at_success": "false"}


def pool_of(tiny: Gateway) -> AttackPool:
    pool = tiny.services.attacks.attacker
    assert isinstance(pool, AttackPool)
    return pool


async def ask(tiny: Gateway, **query: Any) -> httpx.Response:
    return await tiny.client.post(ATTACK, content=IMAGE, headers=PNG, params=query)


@pytest.fixture
async def boundless(tiny_store: Path, anyio_backend: str) -> AsyncIterator[Gateway]:
    """A gateway on which an attack may cost what it likes; one runs, and one may wait."""
    settings = {"attack_budget": 1e9, "attack_workers": 1, "attack_queue": 1, "attack_deadline": 3600}
    async with gateway(tiny_store, **settings) as started:
        yield started


async def test_an_attack_that_costs_too_much_is_refused_before_it_is_begun(tiny_store: Path) -> None:
    async with gateway(tiny_store, attack_budget=0.5) as tiny:
        assert (await ask(tiny, steps=20)).status_code == 200
        problem = assert_problem(await ask(tiny, **ENDLESS), 422, "attack-too-costly")
        cost = problem["cost"]
        assert problem["limit"] == 0.5
        assert (cost["gradients"], cost["images"]) == (1_000_000, 1)
        assert cost["seconds"] == pytest.approx(1_000_000 * cost["seconds_per_gradient"], rel=0.02)
        assert cost["seconds"] > 0.5
        for said in ("1,000,000 gradient evaluations", "the limit here is 0.5 s", "POST /v1/jobs"):
            assert said in problem["detail"]
        assert pool_of(tiny).running == 0


async def test_the_deadline_stops_an_attack_and_says_how_far_it_was(tiny_store: Path) -> None:
    async with gateway(tiny_store, attack_budget=1e9, attack_deadline=3, attack_workers=1) as tiny:
        bundle = tiny.services.lifecycle.catalogue.find("tiny")
        await pool_of(tiny).speed(bundle, "none", deadline=soon())  # so that its worker is there
        problem = assert_problem(await ask(tiny, **ENDLESS), 504, "deadline-exceeded")
        assert "of 1,000,000 steps" in problem["detail"]
        assert (await ask(tiny)).status_code == 200


async def test_more_attacks_than_may_wait_are_refused_and_classification_goes_on(boundless: Gateway) -> None:
    assert (await ask(boundless)).status_code == 200
    pool = pool_of(boundless)
    callers = [asyncio.create_task(ask(boundless, **ENDLESS)) for _ in range(2)]
    await eventually(lambda: (pool.running, pool.waiting) == (1, 1))
    metrics = (await boundless.client.get("/metrics")).text
    assert "holdfast_attacks_waiting 1.0" in metrics
    assert "holdfast_attacks_running 1.0" in metrics
    refused = await ask(boundless)
    assert_problem(refused, 503, "overloaded")
    assert int(refused.headers["retry-after"]) > 1
    assert (await boundless.classify(IMAGE)).status_code == 200
    for caller in callers:
        caller.cancel()
    await asyncio.wait(callers)


async def test_a_caller_who_hangs_up_stops_its_attack_and_the_place_is_free_then(boundless: Gateway) -> None:
    assert (await ask(boundless)).status_code == 200
    pool = pool_of(boundless)
    [pid] = pool.pids
    hung_up = asyncio.Event()
    sent = iter([{"type": "http.request", "body": IMAGE, "more_body": False}])

    async def receive() -> dict[str, Any]:
        message = next(sent, None)
        if message is None:
            await hung_up.wait()
            return {"type": "http.disconnect"}
        return message

    query = "&".join(f"{name}={value}" for name, value in ENDLESS.items()).encode()
    call = asyncio.create_task(
        boundless.call(receive, path=ATTACK, raw_path=ATTACK.encode(), query_string=query)
    )
    await eventually(lambda: pool.running == 1)
    await asyncio.sleep(0.1)
    os.kill(pid, signal.SIGSTOP)
    hung_up.set()
    assert (await call).status == CLIENT_GONE
    assert pool.running == 1  # the caller has gone, and the work has not stopped
    os.kill(pid, signal.SIGCONT)
    await eventually(lambda: pool.running == 0)
    assert pool.pids == [pid]  # it stopped between two steps, and nobody had to kill it
    assert (await ask(boundless)).status_code == 200


async def test_a_worker_that_is_killed_is_a_503_for_its_caller_and_is_replaced(boundless: Gateway) -> None:
    assert (await ask(boundless)).status_code == 200
    pool = pool_of(boundless)
    [pid] = pool.pids
    call = asyncio.create_task(ask(boundless, **ENDLESS))
    await eventually(lambda: pool.running == 1)
    await asyncio.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    response = await call
    problem = assert_problem(response, 503, "attack-interrupted")
    assert response.headers["retry-after"]
    assert "SIGKILL" in problem["detail"]
    assert (await ask(boundless)).status_code == 200
    assert pid not in pool.pids


async def test_bundles_that_changed_on_disk_are_not_attacked_and_no_path_is_told(tmp_path: Path) -> None:
    from support.tiny import make_tiny_bundle

    directory = make_tiny_bundle(tmp_path)
    async with gateway(tmp_path) as tiny:
        (directory / "gradient.onnx").write_bytes(b"not what it was")
        response = await ask(tiny)
        problem = assert_problem(response, 503, "backend-unavailable")
        assert str(tmp_path) not in str(problem)
        assert (await tiny.classify(IMAGE)).status_code == 200


async def test_a_gateway_that_closes_ends_its_workers(tiny_store: Path) -> None:
    async with gateway(tiny_store) as tiny:
        await ask(tiny)
        pids = pool_of(tiny).pids
        assert len(pids) == 1
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_an_attack_counts_among_what_is_in_progress(tiny_store: Path) -> None:
    async with gateway(tiny_store, max_requests=1, attack_budget=1e9) as tiny:
        await ask(tiny)
        call = asyncio.create_task(ask(tiny, **ENDLESS))
        await eventually(lambda: pool_of(tiny).running == 1)
        assert_problem(await ask(tiny), 503, "overloaded")
        call.cancel()
        await asyncio.wait([call])
