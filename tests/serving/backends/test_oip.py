"""The Open Inference Protocol backend in front of real servers: another gateway, and MLServer."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from support.gateway import CLASSIFY, PNG, Gateway, gateway
from support.gateway_process import free_port, running_gateway
from support.peers.mlserver_process import MLServer, mlserver
from support.tiny import make_tiny_bundle, solid_png
from support.unruly import red

from holdfast.bundle import PREDICT, ModelStore
from serving.backends.answer import NotServedError, OtherWeightsError
from serving.backends.base import Backend, OverloadedError, UnavailableError
from serving.backends.connection import Connection
from serving.backends.oip import OipBackend
from serving.backends.oip_plan import parse_models
from serving.backends.onnx import OnnxBackend
from serving.gateway.backend import make_backend
from serving.gateway.metrics import Metrics
from serving.settings import Settings

pytestmark = pytest.mark.anyio

PATIENCE = 60.0


@asynccontextmanager
async def running(backend: Backend) -> AsyncIterator[Backend]:
    await backend.start()
    try:
        yield backend
    finally:
        await backend.close()


async def until(condition: Callable[[], Awaitable[bool]], wanted: bool = True) -> None:
    async with asyncio.timeout(PATIENCE):
        while await condition() != wanted:
            await asyncio.sleep(0.05)


def backend_of(store: Path, url: str, **options: Any) -> OipBackend:
    settings = {"start_timeout": 5.0, "health_interval": 0.1} | options
    return OipBackend(ModelStore(store), url, **settings)


@asynccontextmanager
async def gateway_before(store: Path, url: str, **settings: Any) -> AsyncIterator[Gateway]:
    """A gateway of this process in front of a server, as settings would have it."""
    wanted = Settings(model_store=store, backend="oip", oip_url=url, **settings)
    async with gateway(store, backend=make_backend(wanted, Metrics()), **settings) as front:
        assert front.services.lifecycle.error is None
        yield front


async def compare(store: Path, url: str, **options: Any) -> None:
    images = np.random.default_rng(1).uniform(0, 1, (100, 3, 8, 8)).astype(np.float32)
    async with (
        running(OnnxBackend(ModelStore(store), threads=1)) as embedded,
        running(backend_of(store, url, **options)) as remote,
    ):
        assert [bundle.name for bundle in remote.models()] == ["tiny"]
        for part in np.array_split(images, 7):
            ours = await embedded.predict("tiny", None, part)
            theirs = await remote.predict("tiny", None, part)
            assert theirs.logits.dtype == np.float32
            np.testing.assert_allclose(theirs.logits, ours.logits, atol=1e-4)
        many = await remote.predict("tiny", None, images)
        np.testing.assert_allclose(many.logits, 10 * images.mean(axis=(2, 3)), atol=1e-4)


@pytest.fixture(scope="module")
def other_gateway(tiny_store: Path) -> Iterator[str]:
    with running_gateway(tiny_store, HOLDFAST_MAX_IMAGES="16") as url:
        yield url


async def test_another_gateway_answers_as_the_embedded_backend_does(
    tiny_store: Path, other_gateway: str
) -> None:
    await compare(tiny_store, other_gateway, max_images=16)


async def test_a_gateway_in_front_of_a_gateway_is_a_gateway(tiny_store: Path, other_gateway: str) -> None:
    async with gateway_before(tiny_store, other_gateway, oip_max_images=16) as front:
        assert (await front.client.get("/readyz")).status_code == 200
        answer = (await front.classify(solid_png("blue"))).json()
        assert answer["predictions"][0]["label"] == "blue"
        for defence in ("none", "default"):
            assert (await front.classify(solid_png("red"), defence=defence)).status_code == 200
        many = {f"image{index}": ("red.png", solid_png("red"), "image/png") for index in range(40)}
        answer = (await front.client.post(CLASSIFY, files=many)).json()
        assert [each["label"] for each in answer["predictions"]] == ["red"] * 40


async def test_the_requests_id_and_trace_reach_the_server_behind(
    tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with gateway(tiny_store) as behind:
        seen: list[dict[str, str]] = []

        async def note(scope: Any, receive: Any, send: Any) -> None:
            seen.append({name.decode(): value.decode() for name, value in scope.get("headers", ())})
            await behind.app(scope, receive, send)

        def connect(_: Connection) -> httpx.AsyncClient:
            return httpx.AsyncClient(base_url="http://127.0.0.1", transport=httpx.ASGITransport(note))

        monkeypatch.setattr(Connection, "_new", connect)
        async with gateway_before(tiny_store, "http://127.0.0.1") as front:
            trace = f"00-{'a' * 32}-{'b' * 16}-01"
            headers = {**PNG, "X-Request-Id": "mine", "traceparent": trace, "tracestate": "x=1"}
            response = await front.client.post(CLASSIFY, content=solid_png("red"), headers=headers)
            assert response.json()["predictions"][0]["label"] == "red"
            [sent] = [each for each in seen if each.get("x-request-id") == "mine"]
            assert (sent["traceparent"], sent["tracestate"]) == (trace, "x=1")
            assert sent["inference-header-content-length"]
            headers["traceparent"] = "nonsense"
            await front.client.post(CLASSIFY, content=solid_png("red"), headers=headers)
            assert "traceparent" not in seen[-1]


async def test_a_server_with_another_model_of_the_same_name_is_refused(
    tiny_store: Path, other_gateway: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(*_: Any) -> np.ndarray[Any, Any]:
        return np.array([[0, 10, 0]] * 4, dtype=np.float32)

    monkeypatch.setattr("serving.backends.oip._run_here", other)
    with pytest.raises(OtherWeightsError, match="another model as tiny version 1"):
        await backend_of(tiny_store, other_gateway).start()


async def test_a_server_without_the_stores_models_is_refused(tmp_path: Path, other_gateway: str) -> None:
    make_tiny_bundle(tmp_path, "unheard-of")
    with pytest.raises(NotServedError, match="serves none of the store's models: unheard-of version 1") as e:
        await backend_of(tmp_path, other_gateway).start()
    assert "HOLDFAST_OIP_MODELS" in e.value.hint
    named = parse_models(["unheard-of=tiny/1"])
    async with running(backend_of(tmp_path, other_gateway, models=named)) as backend:
        assert (await backend.predict("unheard-of", "1", red())).logits[0, 0] == 10


async def test_a_version_that_the_server_has_not_is_left_out(tmp_path: Path, other_gateway: str) -> None:
    for version in ("1", "2"):
        make_tiny_bundle(tmp_path, "tiny", version)
    async with running(backend_of(tmp_path, other_gateway)) as backend:
        assert [bundle.version for bundle in backend.models()] == ["1"]


async def test_a_server_that_is_not_there_is_an_error_that_says_where_it_was_expected(
    tiny_store: Path,
) -> None:
    backend = backend_of(tiny_store, f"http://127.0.0.1:{free_port()}", start_timeout=0.2)
    with pytest.raises(UnavailableError, match="cannot be reached") as caught:
        await backend.start()
    assert "HOLDFAST_OIP_URL" in caught.value.hint


async def test_a_password_in_its_address_is_not_in_the_error(tiny_store: Path) -> None:
    port = free_port()
    backend = backend_of(tiny_store, f"http://holdfast:s3cr3t@127.0.0.1:{port}", start_timeout=0.2)
    with pytest.raises(UnavailableError, match=f"at http://127.0.0.1:{port} cannot be reached"):
        await backend.start()


async def test_a_server_that_is_busy_says_when_to_come_back(tiny_store: Path) -> None:
    with running_gateway(tiny_store, HOLDFAST_MAX_REQUESTS="1") as url:
        async with running(backend_of(tiny_store, url)) as backend:
            calls = [backend.predict("tiny", None, red(8)) for _ in range(60)]
            found = await asyncio.gather(*calls, return_exceptions=True)
            busy = [each for each in found if isinstance(each, OverloadedError)]
            assert busy
            assert all(each.retry_after >= 1 for each in busy)
            assert {type(each).__name__ for each in found} == {"Prediction", "OverloadedError"}
            assert await backend.ready(), "being busy is no illness"


async def test_a_server_that_stops_and_comes_back_is_unready_and_ready_again(tiny_store: Path) -> None:
    with running_gateway(tiny_store) as url:
        async with running(backend_of(tiny_store, url, patience=2.0)) as backend:
            [pid] = listeners(int(url.rpartition(":")[2]))
            began = time.monotonic()
            os.kill(pid, signal.SIGSTOP)
            try:
                await until(backend.ready, False)
                assert time.monotonic() - began < 4, (
                    "being silent once, for as long as patience lasts, is enough"
                )
                began = time.monotonic()
                with pytest.raises(UnavailableError, match="at the moment"):
                    await backend.predict("tiny", None, red())
                assert time.monotonic() - began < 1
            finally:
                os.kill(pid, signal.SIGCONT)
            await until(backend.ready)
            assert (await backend.predict("tiny", None, red())).logits[0, 0] == 10


def listeners(port: int) -> list[int]:
    import psutil

    connections = psutil.net_connections("tcp4")
    return [c.pid for c in connections if c.laddr and c.laddr.port == port and c.status == "LISTEN" and c.pid]


@pytest.fixture(scope="module")
def real_mlserver(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLServer]:
    graph = tiny_store / "tiny" / "1" / PREDICT
    with mlserver(tmp_path_factory.mktemp("mlserver"), {"tiny": graph, "colours/7": graph}) as started:
        yield started


@pytest.mark.slow
async def test_mlserver_with_our_graph_answers_as_the_embedded_backend_does(
    tiny_store: Path, real_mlserver: MLServer
) -> None:
    await compare(tiny_store, real_mlserver.url)
    await compare(tiny_store, real_mlserver.url, models=parse_models(["tiny=colours/7"]))


@pytest.mark.slow
async def test_mlserver_killed_under_load_is_503_until_it_is_back(
    tiny_store: Path, real_mlserver: MLServer
) -> None:
    async with gateway_before(tiny_store, real_mlserver.url, deadline=5) as front:
        png, statuses, asked = solid_png("red"), [], 0

        async def ask() -> None:
            nonlocal asked
            while "back" not in statuses:
                asked += 1
                began = time.monotonic()
                response = await front.classify(png)
                assert time.monotonic() - began < 7
                statuses.append(response.status_code)
                if response.status_code == 200:
                    assert response.json()["predictions"][0]["label"] == "red"
                else:
                    assert response.status_code == 503
                    assert int(response.headers["retry-after"]) >= 1
                    await asyncio.sleep(0.05)

        async def ready() -> bool:
            return (await front.client.get("/readyz")).status_code == 200

        async def fault() -> None:
            while statuses.count(200) < 20:
                await asyncio.sleep(0.01)
            real_mlserver.stop()
            await until(ready, False)
            await asyncio.to_thread(real_mlserver.start)
            await until(ready)
            before = statuses.count(200)
            while statuses.count(200) < before + 20:
                await asyncio.sleep(0.01)
            statuses.append("back")

        await asyncio.gather(fault(), *(ask() for _ in range(8)))
        assert asked == len(statuses) - 1
        assert set(statuses) == {200, 503, "back"}
