"""A body is read only as far and only for as long as it is acceptable."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from support.campaigns import submit
from support.gated import GatedBackend, GatedModel, eventually
from support.gateway import CLASSIFY, PNG, Gateway, Message, assert_problem, gateway
from support.tiny import solid_png

from holdfast.bundle import ModelStore

pytestmark = pytest.mark.anyio

RED = solid_png("red")


class Sender:
    """Sends a body chunk by chunk, and knows how much of it was asked for."""

    def __init__(self, *chunks: bytes, then: str = "end") -> None:
        self._chunks = list(chunks)
        self._then = then
        self.sent = 0
        self.gone = asyncio.Event()

    async def __call__(self) -> Message:
        if self._chunks:
            chunk = self._chunks.pop(0)
            self.sent += len(chunk)
            more = bool(self._chunks) or self._then != "end"
            return {"type": "http.request", "body": chunk, "more_body": more}
        if self._then == "disconnect":
            return {"type": "http.disconnect"}
        await self.gone.wait()
        return {"type": "http.disconnect"}


def headers(**values: Any) -> list[tuple[bytes, bytes]]:
    given = {"content_type": "image/png", **values}
    return [(name.replace("_", "-").encode(), str(value).encode()) for name, value in given.items()]


async def test_body_announced_too_large_is_refused_before_a_byte_of_it_is_read(tiny_store: Path) -> None:
    async with gateway(tiny_store, max_body_bytes=1000, max_image_bytes=1000) as started:
        sender = Sender(bytes(1001))
        answer = await started.call(sender, headers=headers(content_length=1001))
    assert answer.status == 413
    assert b"/problems#too-many-bytes" in answer.body
    assert sender.sent == 0


@pytest.mark.parametrize("announced", [{}, {"content_length": 10}, {"transfer_encoding": "chunked"}])
async def test_body_that_turns_out_too_large_is_refused_while_it_arrives(
    tiny_store: Path, announced: dict[str, Any]
) -> None:
    async with gateway(tiny_store, max_body_bytes=1000) as started:
        sender = Sender(*[bytes(300)] * 10)
        answer = await started.call(sender, headers=headers(**announced))
    assert answer.status == 413
    assert b'"limit":1000' in answer.body
    assert sender.sent == 1200


@pytest.mark.parametrize("media_type", ["multipart/form-data; boundary=x", "application/json"])
async def test_limit_holds_for_forms_and_json_too(tiny_store: Path, media_type: str) -> None:
    async with gateway(tiny_store, max_body_bytes=1000) as started:
        head = b'--x\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n\r\n'
        sender = Sender(head, *[bytes(300)] * 10)
        answer = await started.call(sender, headers=headers(content_type=media_type))
    assert answer.status == 413
    assert sender.sent < 1500


async def test_body_of_exactly_the_limit_is_accepted(tiny_store: Path) -> None:
    async with gateway(tiny_store, max_body_bytes=len(RED)) as started:
        assert (await started.classify(RED)).status_code == 200


async def test_chunked_body_is_put_together(tiny: Gateway) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(RED), 7):
            yield RED[start : start + 7]

    response = await tiny.client.post(CLASSIFY, content=chunks(), headers=PNG)
    assert response.json()["predictions"][0]["label"] == "red"


async def test_body_that_does_not_arrive_in_time_is_answered(tiny_store: Path) -> None:
    async with gateway(tiny_store, deadline=0.1) as started:
        answer = await started.call(Sender(RED[:10], then="silence"))
        assert started.services.admission.requests == 0
        assert started.services.admission.held == 0
    assert answer.status == 408
    assert b"/problems#body-timeout" in answer.body
    assert answer.headers["connection"] == "close"


async def test_caller_that_goes_away_while_sending_is_not_classified(tiny: Gateway) -> None:
    answer = await tiny.call(Sender(RED[:10], then="disconnect"))
    assert answer.status == 499
    assert tiny.services.admission.requests == 0


async def test_bodies_together_may_hold_no_more_than_the_memory_for_them(tiny_store: Path) -> None:
    model = GatedModel()
    backend = GatedBackend(ModelStore(tiny_store), model)
    limit = 3 * len(RED)
    async with gateway(tiny_store, backend=backend, max_body_bytes=limit, max_memory=limit) as started:
        two = [asyncio.create_task(started.classify(RED)) for _ in range(2)]
        await eventually(lambda: backend.batcher.waiting + backend.batcher.running == 2)
        assert started.services.admission.held == 2 * len(RED)
        refused = await started.classify(RED + bytes(1))
        assert_problem(refused, 503, "overloaded")
        assert refused.headers["retry-after"] == "1"
        third = asyncio.create_task(started.classify(RED))
        await eventually(lambda: backend.batcher.waiting + backend.batcher.running == 3)
        model.open()
        assert [(await task).status_code for task in (*two, third)] == [200, 200, 200]
        assert started.services.admission.held == 0


async def test_caller_that_goes_away_while_queued_frees_its_place(tiny_store: Path) -> None:
    model = GatedModel()
    backend = GatedBackend(ModelStore(tiny_store), model, queue=1)
    async with gateway(tiny_store, backend=backend) as started:
        first = asyncio.create_task(started.classify(RED))
        await model.wait_started(1)
        sender = Sender(RED)
        impatient = asyncio.create_task(started.call(sender))
        await eventually(lambda: backend.batcher.waiting == 1)
        assert (await started.classify(RED)).status_code == 503
        sender.gone.set()
        await eventually(lambda: backend.batcher.waiting == 0)
        assert (await impatient).status == 499
        patient = asyncio.create_task(started.classify(RED))
        await eventually(lambda: backend.batcher.waiting == 1)
        model.open()
        assert [(await task).status_code for task in (first, patient)] == [200, 200]
    assert model.started == [1, 1]


async def test_worker_of_a_caller_that_has_gone_is_busy_until_the_work_is_over(tiny_store: Path) -> None:
    model = GatedModel()
    backend = GatedBackend(ModelStore(tiny_store), model)
    async with gateway(tiny_store, backend=backend) as started:
        sender = Sender(RED)
        impatient = asyncio.create_task(started.call(sender))
        await model.wait_started(1)
        sender.gone.set()
        assert (await impatient).status == 499
        assert backend.batcher.running == 1
        model.open()
        await eventually(lambda: backend.batcher.running == 0)


async def test_request_that_is_cancelled_by_a_shutdown_is_told_so(tiny_store: Path) -> None:
    model = GatedModel()
    backend = GatedBackend(ModelStore(tiny_store), model)
    async with gateway(tiny_store, backend=backend) as started:
        request = asyncio.create_task(started.call(Sender(RED)))
        await model.wait_started(1)
        request.cancel()
        answer = await request
        model.open()
    assert answer.status == 503
    assert b"/problems#not-ready" in answer.body


async def test_large_file_of_a_form_touches_the_disk_in_a_job_only(
    tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[object] = []
    write = tempfile.SpooledTemporaryFile.rollover

    def rollover(self: Any) -> None:
        written.append(self)
        write(self)

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", rollover)
    large = RED + bytes(2 << 20)
    async with gateway(tiny_store) as started:
        for path in (CLASSIFY, "/v1/models/tiny/attack"):
            answer = await started.client.post(path, files={"image": ("a.png", large)})
            assert answer.status_code == 200
        assert written == []
        assert (await submit(started, large)).status_code == 202
        assert len(written) == 1
