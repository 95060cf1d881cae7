"""Whatever goes wrong with a request, its sender is told what in a problem document, and nothing internal."""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from support.gated import GatedBackend, GatedModel, eventually
from support.gateway import CLASSIFY, PNG, Gateway, assert_problem, gateway
from support.tiny import make_tiny_bundle, solid_png

from holdfast.bundle import Bundle, ModelStore
from holdfast.errors import UsageError
from holdfast.manifest import Defence
from serving.backends.base import Prediction
from serving.gateway.problem_kinds import KINDS

pytestmark = pytest.mark.anyio

RED = solid_png("red")
BASE64 = base64.b64encode(RED).decode()
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "multipart/form-data; boundary=x"}


def gif() -> bytes:
    buffer = BytesIO()
    Image.new("P", (8, 8)).save(buffer, "GIF")
    return buffer.getvalue()


def damaged() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
    content = bytearray(buffer.getvalue())
    middle = content.index(b"IDAT") + 10
    content[middle : middle + 20] = bytes(20)
    return bytes(content)


def form(*parts: tuple[str, bytes]) -> bytes:
    return b"".join(b"--x\r\n%b\r\n\r\n%b\r\n" % (head.encode(), body) for head, body in parts) + b"--x--\r\n"


FILE = 'Content-Disposition: form-data; name="image"; filename="a.png"'

BODIES = {
    "empty": (PNG, b"", 422, "empty-image"),
    "not an image": (PNG, b"hello, hello, hello", 422, "not-an-image"),
    "truncated": (PNG, RED[:-20], 422, "truncated-image"),
    "damaged": (PNG, damaged(), 422, "damaged-image"),
    "gif": (PNG, gif(), 415, "unsupported-image-format"),
    "too many pixels": (PNG, solid_png("red", (5000, 4000)), 413, "too-many-pixels"),
    "text": ({"Content-Type": "text/plain"}, RED, 415, "unsupported-media-type"),
    "what curl sends": (
        {"Content-Type": "application/x-www-form-urlencoded"},
        RED,
        415,
        "unsupported-media-type",
    ),
    "no type": ({}, RED, 415, "unsupported-media-type"),
    "brotli": ({**PNG, "Content-Encoding": "br"}, RED, 415, "unsupported-content-encoding"),
    "packed twice": ({**PNG, "Content-Encoding": "gzip, gzip"}, RED, 415, "unsupported-content-encoding"),
    "not gzip": ({**PNG, "Content-Encoding": "gzip"}, RED, 400, "malformed-body"),
    "json too deep": (JSON, b'{"images":' + b"[" * 300 + b"]" * 300 + b"}", 400, "json-too-deep"),
    "not json": (JSON, b'{"image": ', 400, "malformed-body"),
    "json of another kind": (JSON, b'["x"]', 422, "invalid-request"),
    "json of another schema": (JSON, b'{"picture": "x"}', 422, "invalid-request"),
    "json of a number": (JSON, b'{"images": ["x", 1]}', 422, "invalid-request"),
    "json with both": (JSON, f'{{"image": "{BASE64}", "images": []}}'.encode(), 422, "invalid-request"),
    "json without images": (JSON, b"{}", 422, "no-images"),
    "json of no images": (JSON, b'{"images": []}', 422, "no-images"),
    "json of an empty image": (JSON, b'{"image": ""}', 422, "empty-image"),
    "bad base64": (JSON, b'{"image": "a$b="}', 422, "bad-base64"),
    "base64 without its padding": (
        JSON,
        f'{{"image": "{BASE64.rstrip("=")[:-1]}"}}'.encode(),
        422,
        "bad-base64",
    ),
    "base64 of another alphabet": (JSON, '{"image": "ÄÖÜ="}'.encode(), 422, "bad-base64"),
    "data url without base64": (JSON, b'{"image": "data:image/png,abc"}', 422, "bad-base64"),
    "base64 of no image": (JSON, b'{"image": "aGVsbG8="}', 422, "not-an-image"),
    "json of too many": (JSON, b'{"images": [%b]}' % b",".join([b'"x"'] * 65), 413, "too-many-images"),
    "form without boundary": (
        {"Content-Type": "multipart/form-data"},
        form((FILE, RED)),
        400,
        "malformed-body",
    ),
    "form that is none": (FORM, b"hello", 400, "malformed-body"),
    "form that breaks off": (FORM, form((FILE, RED), (FILE, RED))[:-60], 400, "malformed-body"),
    "form without files": (FORM, b"--x--\r\n", 422, "no-images"),
    "form with a field": (
        FORM,
        form(('Content-Disposition: form-data; name="a"', b"1")),
        422,
        "invalid-request",
    ),
    "form with nothing chosen": (
        FORM,
        form(('Content-Disposition: form-data; name="a"; filename=""', b"")),
        422,
        "no-images",
    ),
    "form with an empty file": (FORM, form((FILE, b"")), 422, "empty-image"),
    "form of too many": (FORM, form(*[(FILE, RED)] * 65), 413, "too-many-images"),
}


@pytest.mark.parametrize(("headers", "content", "status", "kind"), BODIES.values(), ids=BODIES)
async def test_body_that_cannot_be_used_gets_its_own_answer(
    tiny: Gateway, headers: dict[str, str], content: bytes, status: int, kind: str
) -> None:
    response = await tiny.client.post(CLASSIFY, content=content, headers=headers)
    assert_problem(response, status, kind)


async def test_image_of_too_many_bytes_is_refused(tiny_store: Path) -> None:
    async with gateway(tiny_store, max_image_bytes=1000) as started:
        padded = RED + bytes(1000)
        assert_problem(await started.classify(padded), 413, "too-many-bytes")
        response = await started.client.post(CLASSIFY, json={"image": base64.b64encode(padded).decode()})
        assert_problem(response, 413, "too-many-bytes")


@pytest.mark.parametrize(
    "accepted", ["image/png", "image/jpeg", "image/webp", "multipart/form-data", "application/json"]
)
async def test_wrong_content_type_is_told_which_are_right(tiny: Gateway, accepted: str) -> None:
    response = await tiny.client.post(CLASSIFY, content=RED, headers={"Content-Type": "text/plain"})
    assert accepted in response.headers["accept"]
    assert accepted in response.json()["detail"]


@pytest.mark.parametrize("query", ["top_k=0", "top_k=-1", "top_k=five", "top_k=1.5", "top_k=", "topk=1"])
async def test_option_that_cannot_be_used_is_named(tiny: Gateway, query: str) -> None:
    response = await tiny.client.post(f"{CLASSIFY}?{query}", content=RED, headers=PNG)
    problem = assert_problem(response, 422, "invalid-request")
    [error] = problem["errors"]
    assert error["where"] == f"query {query.partition('=')[0]}"
    assert problem["detail"].startswith(error["where"])


@pytest.mark.parametrize(
    ("asked", "named"), [("imt", "imt"), ("imt%2B", "imt+"), ("imt+", "imt+"), ("shield", "shield")]
)
async def test_defence_that_is_not_offered_is_refused_with_those_that_are(
    tiny: Gateway, asked: str, named: str
) -> None:
    response = await tiny.client.post(f"{CLASSIFY}?defence={asked}", content=RED, headers=PNG)
    problem = assert_problem(response, 422, "defence-not-offered")
    assert f"'{named}'" in problem["detail"]
    assert problem["offered"] == ["none"]


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("POST", "/v1/models/huge/classify", 404, "unknown-model"),
        ("POST", "/v1/models/huge/versions/1/classify", 404, "unknown-model"),
        ("POST", "/v1/models/tiny/versions/2/classify", 404, "unknown-version"),
        ("POST", "/v1/models/tiny/versions/..%2F1/classify", 404, "not-found"),
        ("GET", "/v1/models/huge", 404, "unknown-model"),
        ("GET", "/v1/models/tiny/versions/01", 404, "unknown-version"),
        ("GET", "/v1/model", 404, "not-found"),
        ("GET", "/v1/models/tiny/classify", 405, "method-not-allowed"),
        ("DELETE", "/v1/models", 405, "method-not-allowed"),
        ("GET", "/assets/app.py", 404, "not-found"),
        ("GET", "/assets/..%2Fproblems.py", 404, "not-found"),
    ],
)
async def test_address_that_leads_nowhere_gets_its_own_answer(
    tiny: Gateway, method: str, path: str, status: int, kind: str
) -> None:
    response = await tiny.client.request(method, path, content=RED if method == "POST" else None, headers=PNG)
    problem = assert_problem(response, status, kind)
    if kind == "unknown-model":
        assert "tiny" in problem["detail"]
    if status == 405:
        assert response.headers["allow"] in problem["detail"]


async def test_full_queue_is_answered_with_when_to_come_back(tiny_store: Path) -> None:
    model = GatedModel()
    backend = GatedBackend(ModelStore(tiny_store), model, queue=4)
    async with gateway(tiny_store, backend=backend) as started:
        first = asyncio.create_task(started.classify(RED))
        await model.wait_started(1)
        waiting = asyncio.create_task(started.client.post(CLASSIFY, json={"images": [BASE64] * 4}))
        await eventually(lambda: backend.batcher.waiting == 4)
        refused = await started.classify(RED)
        model.open()
        assert (await waiting).status_code == (await first).status_code == 200
        assert (await started.classify(RED)).status_code == 200
    assert_problem(refused, 503, "overloaded")
    assert int(refused.headers["retry-after"]) >= 1


async def test_too_many_requests_at_once_are_answered_with_when_to_come_back(tiny_store: Path) -> None:
    model = GatedModel()
    backend = GatedBackend(ModelStore(tiny_store), model)
    async with gateway(tiny_store, backend=backend, max_requests=2) as started:
        both = [asyncio.create_task(started.classify(RED)) for _ in range(2)]
        await eventually(lambda: backend.batcher.waiting + backend.batcher.running == 2)
        refused = await started.classify(RED)
        assert (await started.client.get("/readyz")).status_code == 200
        model.open()
        assert [response.status_code for response in await asyncio.gather(*both)] == [200, 200]
        assert (await started.classify(RED)).status_code == 200
    assert_problem(refused, 503, "overloaded")
    assert refused.headers["retry-after"] == "1"


async def test_deadline_is_answered_and_what_was_queued_never_runs(tiny_store: Path) -> None:
    model = GatedModel()
    backend = GatedBackend(ModelStore(tiny_store), model)
    async with gateway(tiny_store, backend=backend, deadline=0.3) as started:
        running = asyncio.create_task(started.classify(RED))
        await model.wait_started(1)
        queued = await started.classify(RED)
        assert_problem(queued, 504, "deadline-exceeded")
        assert_problem(await running, 504, "deadline-exceeded")
        model.open()
        await eventually(lambda: backend.batcher.running == 0)
        assert (await started.classify(RED)).status_code == 200
    assert model.started == [1, 1]


async def test_deadline_counts_the_decoding_too(tiny_store: Path) -> None:
    async with gateway(tiny_store, deadline=0.005) as started:
        large = base64.b64encode(solid_png("red", (2500, 2000))).decode()
        response = await started.client.post(CLASSIFY, json={"images": [large] * 3})
    assert_problem(response, 504, "deadline-exceeded")


class BrokenBackend:
    """A backend that fails as its author did not foresee."""

    name = "broken"

    def __init__(self, store: Path, error: Exception) -> None:
        self._bundles = list(ModelStore(store))
        self._error = error

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def ready(self) -> bool:
        return True

    def models(self) -> Sequence[Bundle]:
        return self._bundles

    async def predict(
        self,
        name: str,
        version: str | None,
        images: np.ndarray,
        *,
        defence: Defence = "none",
        deadline: float | None = None,
    ) -> Prediction:
        raise self._error


@pytest.mark.parametrize(
    "error",
    [RuntimeError("secret in /home/secret"), UsageError("secret in /home/secret", hint="secret")],
    ids=["bug", "internal error of Holdfast"],
)
async def test_unforeseen_error_tells_the_caller_nothing_and_the_log_everything(
    tiny_store: Path, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    async with gateway(tiny_store, backend=BrokenBackend(tiny_store, error)) as started:
        with caplog.at_level(logging.ERROR):
            response = await started.classify(RED)
    assert_problem(response, 500, "internal-error")
    for internal in ("secret", "Traceback", 'Error"', ".py"):
        assert internal not in response.text
    assert "secret in /home/secret" in caplog.text


async def test_path_of_the_store_is_never_told(tmp_path: Path) -> None:
    store = tmp_path / "secret-place"
    make_tiny_bundle(store)
    async with gateway(store) as started:
        (store / "tiny/1/CARD.md").unlink()
        response = await started.client.get("/v1/models/tiny")
        assert "secret-place" not in response.text
        texts = [
            (await started.client.get(path)).text for path in ("/", "/v1/models", "/v1/models/x", "/problems")
        ]
    assert all("secret-place" not in text for text in texts)


async def test_every_kind_of_problem_is_explained_where_its_type_leads(tiny: Gateway) -> None:
    page = await tiny.client.get("/problems")
    explained = re.findall(r'id="([a-z0-9-]+)"', page.text)
    assert explained == [kind.name for kind in KINDS]
    assert len(set(explained)) == len(explained) >= 25
    assert all(kind.title in page.text for kind in KINDS)


async def test_problem_survives_what_a_caller_writes_into_it(tiny: Gateway) -> None:
    response = await tiny.client.get('/v1/models/<b>"%00%0d%0aX-Evil: 1')
    problem = assert_problem(response, 404, "unknown-model")
    assert '<b>"' in problem["detail"]
    assert problem["instance"] == "/v1/models/%3Cb%3E%22%00%0D%0AX-Evil%3A%201"
    assert "x-evil" not in response.headers


def test_kinds_are_distinct_and_in_order_of_status() -> None:
    assert len({kind.title for kind in KINDS}) == len(KINDS)
    assert [kind.status for kind in KINDS] == sorted(kind.status for kind in KINDS)
    assert all(kind.advice.endswith(".") and not kind.title.endswith(".") for kind in KINDS)


def test_problem_documents_are_type_checked(tiny_store: Path) -> None:
    """What the documents' schema promises is what a real one has."""
    from serving.gateway.problem_kinds import OVERLOADED
    from serving.gateway.problems import Problem
    from serving.gateway.schemas import ProblemDocument

    document: dict[str, Any] = Problem(OVERLOADED, "Busy.", members={"limit": 3}).document("/x", "id")
    parsed = ProblemDocument.model_validate(document)
    assert (parsed.status, parsed.limit, parsed.offered) == (503, 3, None)
    assert isinstance(httpx.URL(parsed.type), httpx.URL)
