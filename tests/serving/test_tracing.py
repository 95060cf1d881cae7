"""Where an endpoint says so, a request is one trace from its caller to what runs the model."""

from __future__ import annotations

import http.server
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.gateway import CLASSIFY, PNG, gateway
from support.tiny import solid_png

from holdfast.bundle import ModelStore
from serving import tracing
from serving.backends.base import BackendError
from serving.backends.catalogue import Catalogue
from serving.backends.connection import Connection
from serving.backends.health import Health
from serving.backends.torchserve import TorchServeBackend

pytestmark = pytest.mark.anyio

RED = solid_png("red")
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{PARENT}-01"


@pytest.fixture
def exporter() -> Iterator[InMemorySpanExporter]:
    made = InMemorySpanExporter()
    assert tracing.start(made)
    yield made
    tracing.stop()


def by_name(exporter: InMemorySpanExporter) -> dict[str, ReadableSpan]:
    return {span.name: span for span in exporter.get_finished_spans()}


def parent_of(span: ReadableSpan) -> int:
    assert span.parent is not None
    return span.parent.span_id


def identity(span: ReadableSpan) -> int:
    assert span.context is not None
    return span.context.span_id


async def test_classification_is_a_trace_of_its_parts(
    tiny_store: Path, exporter: InMemorySpanExporter
) -> None:
    async with gateway(tiny_store) as started:
        response = await started.client.post(
            f"{CLASSIFY}?top_k=1", content=RED, headers=PNG | {"traceparent": TRACEPARENT}
        )
        assert response.status_code == 200
        spans = by_name(exporter)
    request = spans["POST /v1/models/{model}/classify"]
    assert request.context is not None
    assert f"{request.context.trace_id:032x}" == TRACE
    assert f"{parent_of(request):016x}" == PARENT
    assert request.attributes is not None
    assert request.attributes["http.route"] == "/v1/models/{model}/classify"
    predict = spans["predict"]
    assert predict.attributes == {
        "holdfast.model": "tiny",
        "holdfast.version": "1",
        "holdfast.defence": "none",
        "holdfast.images": 1,
    }
    assert parent_of(spans["decode"]) == parent_of(predict) == identity(request)
    for name in ("queue", "inference"):
        assert parent_of(spans[name]) == identity(predict)
    queue, inference = spans["queue"], spans["inference"]
    assert queue.end_time is not None
    assert inference.start_time is not None
    assert abs(queue.end_time - inference.start_time) < 50_000_000


async def test_health_is_not_traced(tiny_store: Path, exporter: InMemorySpanExporter) -> None:
    async with gateway(tiny_store) as started:
        for path in ("/livez", "/readyz", "/metrics", "/v2/health/live"):
            await started.client.get(path)
        assert not exporter.get_finished_spans()
        await started.client.get("/v1/models/metrics")
        assert list(by_name(exporter)) == ["GET /v1/models/{model}"]


async def test_what_runs_the_model_goes_on_with_the_trace_and_the_request_id(
    tiny_store: Path, exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[httpx.Headers] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers)
        return httpx.Response(500, json={})

    url = "http://holdfast:s3cr3t@torchserve.test"
    backend = TorchServeBackend(ModelStore(tiny_store), url, headers=lambda: {"X-Request-Id": "the-id"})

    def connect(_: Connection) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url=url)

    monkeypatch.setattr(Connection, "_new", connect)
    await backend._connection.open()
    backend._catalogue = Catalogue(ModelStore(tiny_store))
    backend._health["tiny", "1"] = Health()
    backend._health["tiny", "1"].trust(time.monotonic())
    with pytest.raises(BackendError):
        await backend.predict("tiny", None, np.zeros((1, 3, 8, 8), dtype=np.float32))
    call = by_name(exporter)["TorchServe"]
    assert call.context is not None
    context = call.context
    expected = f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"
    assert seen[0]["traceparent"] == expected
    assert seen[0]["x-request-id"] == "the-id"
    assert seen[0]["authorization"].startswith(
        "Basic "
    )  # what a proxy before it asks for, and no trace shows
    assert call.attributes is not None
    assert call.attributes["url.full"] == "http://torchserve.test/predictions/tiny/1"
    await backend._connection.close()


async def test_without_tracing_nothing_is_added_to_what_is_sent() -> None:
    assert tracing.headers() == {}
    with tracing.span("a", model="b"), tracing.call("c", "d"):
        tracing.past("e", 0.0, 1.0)
        tracing.name_request("GET", "/")


async def test_spans_are_sent_to_the_endpoint_before_the_gateway_ends(
    tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    received: list[tuple[str, bytes]] = []

    class Collector(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{collector.server_port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        async with gateway(tiny_store) as started:
            await started.classify(RED)
        collector.shutdown()
    assert received
    assert received[0][0] == "/v1/traces"
    content = b"".join(body for _, body in received)
    for part in (b"holdfast", b"service.name", b"/v1/models/{model}/classify", b"inference"):
        assert part in content
    assert tracing._tracer is None


async def test_missing_package_is_told_and_stops_nobody(
    tiny_store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with caplog.at_level(logging.WARNING):
        async with gateway(tiny_store) as started:
            assert (await started.classify(RED)).status_code == 200
    assert "pip install 'holdfast[telemetry]'" in caplog.text


def test_nothing_of_it_is_imported_unless_it_is_wanted() -> None:
    """FastAPI itself imports the interface, without what does anything."""
    program = (
        "import sys; from serving.gateway.app import create_app; from serving.settings import Settings\n"
        "create_app(Settings()); parts = ('sdk', 'exporter', 'instrumentation')\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry.') and "
        "name.split('.')[1] in parts])"
    )
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("OTEL", "HOLDFAST"))
    }
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout.strip() == "[]"
