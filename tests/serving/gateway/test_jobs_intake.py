"""Reading and checking a job's images ends when its time is over, its caller has gone, or the server ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from support.campaigns import JOBS, PGD, arrays, colours, submit
from support.gated import eventually
from support.gateway import Gateway, Message, assert_problem, gateway

from holdfast import images as holdfast_images
from holdfast.images import ImageLimits
from serving.gateway.access_log import CLIENT_GONE
from serving.gateway.jobs.upload import Submission
from serving.jobs import intake
from serving.jobs.datasets import Datasets
from serving.jobs.limits import Limits
from serving.jobs.requests import CampaignRequest, DatasetChoice

pytestmark = pytest.mark.anyio

#: More images than anybody would wait for, at a tenth of a second each.
MANY = colours(300, 200)


class SlowDecoder:
    """Takes a while for every image, and counts."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.decoded = self.running = self.most = 0
        self._lock = threading.Lock()

    def __call__(self, *arguments: Any) -> object:
        with self._lock:
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(self.seconds)
        with self._lock:
            self.running -= 1
            self.decoded += 1
        return holdfast_images.decode(*arguments)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowDecoder]:
    """Every image takes a tenth of a second."""
    decoder = SlowDecoder(0.1)
    monkeypatch.setattr(intake, "decode", decoder)
    yield decoder
    decoded = decoder.decoded
    time.sleep(0.3)
    assert decoder.decoded <= decoded + decoder.running, "somebody still decodes"


def form(*files: bytes) -> httpx.Request:
    """A campaign as a form."""
    parts = [("images", (f"{number}.zip", file)) for number, file in enumerate(files)]
    return httpx.Request("POST", f"http://host{JOBS}", data=PGD, files=parts)


def scope_of(request: httpx.Request) -> dict[str, Any]:
    return {
        "path": JOBS,
        "raw_path": JOBS.encode(),
        "headers": [(b"content-type", request.headers["content-type"].encode())],
    }


async def jobs(started: Gateway) -> list[Any]:
    found: list[Any] = (await started.client.get(JOBS)).json()["jobs"]
    return found


async def test_check_ends_when_its_time_is_over(tiny_store: Path, slow: SlowDecoder) -> None:
    async with gateway(tiny_store, jobs_upload_time=1) as started:
        began = time.monotonic()
        document = assert_problem(await submit(started, MANY), 504, "deadline-exceeded")
        assert time.monotonic() - began < 10
        assert "in 1 s" in document["detail"]
        assert await jobs(started) == []


async def test_check_ends_when_the_caller_has_gone(tiny_store: Path, slow: SlowDecoder) -> None:
    request, gone = form(MANY), asyncio.Event()
    body = iter([request.read()])

    async def receive() -> Message:
        if (chunk := next(body, None)) is not None:
            return {"type": "http.request", "body": chunk, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async with gateway(tiny_store) as started:
        call = asyncio.create_task(started.call(receive, **scope_of(request)))
        await eventually(lambda: slow.decoded > 1)
        gone.set()
        began = time.monotonic()
        assert (await call).status == CLIENT_GONE
        assert time.monotonic() - began < 5
        assert slow.running == 0, "its thread has ended before its files were closed"
        assert started.services.jobs.admission.held == 0
        assert await jobs(started) == []


async def test_check_ends_when_the_server_does(tiny_store: Path, slow: SlowDecoder) -> None:
    async with gateway(tiny_store) as started:
        call = asyncio.create_task(submit(started, MANY))
        await eventually(lambda: slow.decoded > 1)
        began = time.monotonic()
    assert time.monotonic() - began < 10
    assert_problem(await call, 503, "not-ready")


async def test_what_still_arrives_holds_nobody_up(tiny_store: Path) -> None:
    request = form(colours())
    half = request.read()[:500]
    end = asyncio.Event()

    async with gateway(tiny_store) as started:

        def sender() -> Any:
            body = iter([half])

            async def receive() -> Message:
                if (chunk := next(body, None)) is not None:
                    return {"type": "http.request", "body": chunk, "more_body": True}
                await end.wait()
                return {"type": "http.disconnect"}

            return receive

        calls = [asyncio.create_task(started.call(sender(), **scope_of(request))) for _ in range(5)]
        await eventually(lambda: started.services.jobs.admission.held == 5 * len(half))
        assert (await submit(started, colours())).status_code == 202
        end.set()
        assert {(await call).status for call in calls} == {CLIENT_GONE}
        assert started.services.jobs.admission.held == 0


async def test_two_are_checked_at_a_time_and_the_others_wait(tiny_store: Path, slow: SlowDecoder) -> None:
    async with gateway(tiny_store) as started:
        answers = await asyncio.gather(*(submit(started, colours(2, 2)) for _ in range(5)))
        assert [answer.status_code for answer in answers] == [202] * 5
    assert slow.most == 2


async def test_who_waits_too_long_for_the_check_is_told_to_come_back(tiny_store: Path) -> None:
    async with gateway(tiny_store, jobs_upload_time=0.3) as started:
        checking = started.services.jobs._checking
        for _ in range(2):
            await checking.acquire()
        answer = await submit(started, colours())
        assert "not this one's turn in 0.3 s" in assert_problem(answer, 503, "overloaded")["detail"]
        assert "retry-after" in answer.headers
        checking.release()
        assert (await submit(started, colours())).status_code == 202


class UnwantedError(Exception):
    """What is being done is not wanted any more."""


def until(most: int) -> tuple[list[None], Callable[[], None]]:
    """How often it was asked whether to go on, and who is asked: it says no after so many times."""
    asked: list[None] = []

    def go_on() -> None:
        asked.append(None)
        if len(asked) > most:
            raise UnwantedError

    return asked, go_on


LIMITS = Limits(ImageLimits(max_bytes=1 << 20, max_pixels=1 << 20), images=1000, bytes=1 << 30)


def test_reading_asks_between_two_images_whether_to_go_on(tmp_path: Path) -> None:
    packed = colours(3, 3)
    (tmp_path / "colours.zip").write_bytes(packed)
    (tmp_path / "grey.npz").write_bytes(arrays(images=np.zeros((6, 8, 8, 3), np.uint8)))
    uploads = [intake.Upload("a.zip", BytesIO(packed))]
    datasets = Datasets(tmp_path)
    reads: list[Callable[[Callable[[], None]], object]] = [
        lambda go_on: intake.read_uploads(uploads, LIMITS, "auto", go_on),
        lambda go_on: datasets.read(DatasetChoice(name="colours"), LIMITS, go_on),
        lambda go_on: datasets.read(DatasetChoice(name="grey"), LIMITS, go_on),
    ]
    for read in reads:
        asked, go_on = until(100)
        read(go_on)
        assert len(asked) == 6
        asked, go_on = until(2)
        with pytest.raises(UnwantedError):
            read(go_on)
        assert len(asked) == 3


def test_hashing_asks_between_two_pieces_whether_to_go_on() -> None:
    request = CampaignRequest.model_validate({"models": ["tiny"], "attacks": ["pgd"]})
    submission = Submission(request, [intake.Upload("a.png", BytesIO(bytes(5 << 20)))])
    asked, go_on = until(2)
    with pytest.raises(UnwantedError):
        submission.fingerprint(go_on)
    assert len(asked) == 3
