"""A gateway is ready when it can classify, and says so truthfully from its start to its end."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from support.gated import GatedBackend, GatedModel, eventually
from support.gateway import CLASSIFY, PNG, Gateway, assert_problem, gateway
from support.tiny import make_tiny_bundle, solid_png

from holdfast.bundle import ModelStore

pytestmark = pytest.mark.anyio

RED = solid_png("red")


class SlowStart(GatedBackend):
    """A backend whose start takes until it is let through."""

    def __init__(self, store: Path) -> None:
        super().__init__(ModelStore(store), GatedModel(open=True))
        self.may_start = asyncio.Event()
        self.well = True

    async def start(self) -> None:
        await self.may_start.wait()
        await super().start()

    async def ready(self) -> bool:
        return self.well


async def test_alive_and_not_ready_while_the_models_load(tiny_store: Path) -> None:
    backend = SlowStart(tiny_store)
    async with gateway(tiny_store, backend=backend, settle=False) as started:
        assert (await started.client.get("/livez")).status_code == 200
        for response in (
            await started.client.get("/readyz"),
            await started.client.get("/v1/models"),
            await started.classify(RED),
        ):
            assert_problem(response, 503, "not-ready")
            assert response.headers["retry-after"] == "1"
        assert (await started.client.get("/")).status_code == 200
        backend.may_start.set()
        await started.services.lifecycle.settled()
        assert (await started.client.get("/readyz")).json() == {"status": "ready"}
        assert (await started.classify(RED)).status_code == 200


async def test_not_ready_first_when_it_drains_and_still_answers(tiny: Gateway) -> None:
    tiny.services.lifecycle.drain()
    assert_problem(await tiny.client.get("/readyz"), 503, "not-ready")
    assert (await tiny.client.get("/livez")).status_code == 200
    assert (await tiny.classify(RED)).status_code == 200


async def test_request_in_flight_is_answered_before_the_models_are_closed(tiny_store: Path) -> None:
    model = GatedModel()
    backend = GatedBackend(ModelStore(tiny_store), model)
    async with gateway(tiny_store, backend=backend) as started:
        request = asyncio.create_task(started.classify(RED))
        await model.wait_started(1)
        started.services.lifecycle.drain()
        model.open()
    assert (await request).status_code == 200


async def test_not_ready_while_what_runs_the_models_is_not(tiny_store: Path) -> None:
    backend = SlowStart(tiny_store)
    backend.may_start.set()
    async with gateway(tiny_store, backend=backend) as started:
        backend.well = False
        assert_problem(await started.client.get("/readyz"), 503, "not-ready")
        backend.well = True
        assert (await started.client.get("/readyz")).status_code == 200


async def test_neither_alive_nor_ready_when_the_models_cannot_be_loaded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = make_tiny_bundle(tmp_path)
    (directory / "CARD.md").write_text("changed")
    with caplog.at_level(logging.ERROR):
        async with gateway(tmp_path) as started:
            for path in ("/livez", "/readyz"):
                problem = assert_problem(await started.client.get(path), 503, "not-ready")
                assert str(tmp_path) not in str(problem)
            assert_problem(await started.classify(RED), 503, "not-ready")
    assert "CARD.md" in caplog.text


async def test_stop_during_the_start_ends_it(tiny_store: Path) -> None:
    async with gateway(tiny_store, settle=False) as started:
        assert started.services.lifecycle.state == "starting"
    assert started.services.lifecycle.state == "stopped"
    assert started.services.lifecycle.error is None


async def test_stop_breaks_off_a_start_that_would_never_end(tiny_store: Path) -> None:
    backend = SlowStart(tiny_store)
    async with asyncio.timeout(5), gateway(tiny_store, backend=backend, settle=False) as started:
        assert (await started.client.get("/livez")).status_code == 200
    assert started.services.lifecycle.state == "stopped"


async def test_health_is_asked_for_with_head_too(tiny: Gateway) -> None:
    for path in ("/livez", "/readyz", "/"):
        assert (await tiny.client.head(path)).status_code == 200


async def test_health_answers_while_the_model_is_busy(tiny_store: Path) -> None:
    model = GatedModel()
    backend = GatedBackend(ModelStore(tiny_store), model)
    async with gateway(tiny_store, backend=backend) as started:
        requests = [
            asyncio.create_task(started.client.post(CLASSIFY, content=RED, headers=PNG)) for _ in range(5)
        ]
        await eventually(lambda: backend.batcher.waiting + backend.batcher.running == 5)
        assert (await started.client.get("/readyz")).status_code == 200
        model.open()
        assert {response.status_code for response in await asyncio.gather(*requests)} == {200}
