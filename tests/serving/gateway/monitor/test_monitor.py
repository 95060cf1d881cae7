"""GET /v1/monitor tells what was asked of this gateway in the last minutes, and how it is now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.gated import GatedBackend, GatedModel
from support.gateway import CLASSIFY, PNG, Gateway, assert_problem, gateway
from support.tiny import solid_png

from holdfast.bundle import ModelStore
from holdfast.version import __version__
from serving.backends.load import Load
from serving.gateway.monitor.schemas import MonitorReport
from serving.keys.store import KeyStore

pytestmark = pytest.mark.anyio

RED = solid_png("red")


@pytest.fixture
async def tiny(tiny_store: Path, anyio_backend: str) -> AsyncIterator[Gateway]:
    async with gateway(tiny_store) as started:
        yield started


async def look(started: Gateway, minutes: int = 1) -> dict[str, Any]:
    """What the monitor answers, which is as its schema says and whose series are all of one length."""
    response = await started.client.get("/v1/monitor", params={"minutes": minutes})
    assert response.status_code == 200, response.text
    MonitorReport.model_validate_json(response.content, strict=True)
    found: dict[str, Any] = response.json()
    parts = [found[name] for name in ("requests", "attack_requests", "classifications")] + found["models"]
    for part in parts:
        assert list(part["series"]) == list(part["total"])
        for name, series in part["series"].items():
            assert len(series) == found["steps"] == minutes * 60 // found["step_s"]
            if not name.endswith("_ms") and name != "largest_batch":
                assert sum(series) == part["total"][name]
    assert len(found["waiting"]) == len(found["in_flight"]) == found["steps"]
    return found


async def test_classifications_are_told_of_by_model_and_by_how_they_ended(tiny: Gateway) -> None:
    files = [("image", ("a.png", RED, "image/png"))] * 3
    await tiny.client.post(CLASSIFY, files=files)
    await tiny.classify(RED)
    await tiny.classify(b"no image")
    await tiny.client.post("/v1/models/none/classify", content=RED, headers=PNG)
    found = await look(tiny)
    [model] = found["models"]
    assert (model["model"], model["version"], model["defence"]) == ("tiny", "1", "none")
    total = model["total"]
    assert total == found["classifications"]["total"]
    assert (total["requests"], total["succeeded"], total["client_errors"]) == (3, 2, 1)
    assert (total["images"], total["unjudged"], total["suspect"]) == (4, 4, 0)
    assert (total["batches"], total["batch_images"], total["largest_batch"]) == (2, 4, 3)
    assert 0 < total["p50_ms"] <= total["p95_ms"] <= total["p99_ms"] < 60_000
    # A request for no model that there is is about none.
    assert found["requests"]["total"]["client_errors"] == 2


async def test_attacks_are_told_of_by_what_came_of_them(tiny_store: Path) -> None:
    async with gateway(tiny_store) as started:
        address = "/v1/models/tiny/attack?attack=fgsm&epsilon="
        near = solid_png((153, 148, 0))
        for epsilon, status in (("8/255", 200), ("0.5/255", 200), ("wrong", 422)):
            response = await started.client.post(address + epsilon, content=near, headers=PNG)
            assert response.status_code == status, response.text
        found = await look(started)
    [attacked] = found["attacked"]
    assert {name: attacked[name] for name in ("model", "version", "defence", "attack")} == {
        "model": "tiny",
        "version": "1",
        "defence": "none",
        "attack": "fgsm",
    }
    assert (attacked["fooled"], attacked["held"]) == (1, 1)
    assert attacked["p50_ms"] > 0
    total = found["attack_requests"]["total"]
    assert (total["requests"], total["succeeded"], total["client_errors"]) == (3, 2, 1)
    assert found["attacks"] == {"waiting": 0, "running": 0}
    assert found["classifications"]["total"]["requests"] == 0


async def test_state_of_the_moment_is_told(tiny_store: Path) -> None:
    model = GatedModel()
    backend = GatedBackend(ModelStore(tiny_store), model)
    backend.load = lambda: Load(  # type: ignore[attr-defined]
        backend.batcher.waiting, backend.batcher.running, 8
    )
    async with gateway(tiny_store, backend=backend) as started:
        requests = []
        for number in range(1, 5):
            requests.append(asyncio.create_task(started.classify(RED)))
            while backend.batcher.waiting + backend.batcher.running < number:
                await asyncio.sleep(0.002)
            await model.wait_started(1)
        found = await look(started)
        assert found["queue"] == {"waiting": 3, "running": 1, "limit": 8}
        assert max(found["in_flight"]) == 4  # who watches is none of them
        assert max(found["waiting"]) == 2  # what the last one found
        model.open()
        await asyncio.gather(*requests)
    server = found["server"]
    assert (server["state"], server["ready"], server["backend"]) == ("ready", True, "gated")
    assert server["versions"]["holdfast"] == __version__
    assert server["memory_bytes"] > 10_000_000
    assert server["uptime_s"] >= 0
    assert found["jobs"] is None


async def test_it_answers_while_the_models_load(tiny_store: Path) -> None:
    async with gateway(tiny_store, settle=False) as started:
        state = (await look(started))["server"]
        assert (state["state"], state["ready"]) == ("starting", False)


async def test_nothing_is_sent_again_while_nothing_happens(tiny: Gateway) -> None:
    first = await tiny.client.get("/v1/monitor")
    known = {"If-None-Match": first.headers["etag"]}
    again = await tiny.client.get("/v1/monitor", headers=known)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    await tiny.classify(RED)
    news = await tiny.client.get("/v1/monitor", headers=known)
    assert news.status_code == 200
    assert news.headers["etag"] != first.headers["etag"]


@pytest.mark.parametrize("minutes", ["0", "16", "-1", "many", "1.5", ""])
async def test_only_minutes_that_are_kept_can_be_asked_for(tiny: Gateway, minutes: str) -> None:
    answer = await tiny.client.get("/v1/monitor", params={"minutes": minutes})
    assert_problem(answer, 422, "invalid-request")


async def test_with_keys_it_is_for_whom_the_metrics_are_for(tiny_store: Path, tmp_path: Path) -> None:
    keys = KeyStore(tmp_path / "keys.json")
    classify, _ = keys.create("a", ("classify", "attack"))
    admin, _ = keys.create("b", ("admin",))
    async with gateway(tiny_store, keys_file=keys.path) as started:
        for token, status in ((classify, 403), (admin, 200)):
            headers = {"Authorization": f"Bearer {token.reveal()}"}
            assert (await started.client.get("/v1/monitor", headers=headers)).status_code == status
        assert_problem(await started.client.get("/v1/monitor"), 401, "unauthenticated")
    async with gateway(tiny_store, keys_file=keys.path, metrics_open=True) as started:
        assert (await started.client.get("/v1/monitor")).status_code == 200


async def test_pages_of_other_hosts_do_not_see_it(tiny: Gateway) -> None:
    answer = await tiny.client.get("/v1/monitor", headers={"Host": "evil.example"})
    assert_problem(answer, 403, "foreign-page")
