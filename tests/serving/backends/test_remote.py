"""A backend over HTTP in front of a server that hangs, breaks off, is full, and comes back."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from support.unruly import UnrulyServer, red, unruly

from holdfast.bundle import ModelStore
from serving.backends.answer import BatchFailedError
from serving.backends.base import (
    DeadlineExceededError,
    OverloadedError,
    Prediction,
    UnavailableError,
)
from serving.backends.torchserve import TorchServeBackend

pytestmark = pytest.mark.anyio

#: Short, so that tests are; long enough for a machine with other things to do.
PATIENCE, INTERVAL = 0.5, 0.1


@asynccontextmanager
async def backend_of(
    server: UnrulyServer, store: Path, **options: object
) -> AsyncIterator[TorchServeBackend]:
    settings = {"patience": PATIENCE, "health_interval": INTERVAL, "timeout": 20.0} | options
    backend = TorchServeBackend(ModelStore(store), server.url, **settings)  # type: ignore[arg-type]
    await backend.start()
    try:
        yield backend
    finally:
        await backend.close()


@pytest.fixture
async def server(tiny_store: Path, anyio_backend: str) -> AsyncIterator[UnrulyServer]:
    async with unruly(tiny_store) as started:
        yield started


@pytest.fixture
async def backend(server: UnrulyServer, tiny_store: Path) -> AsyncIterator[TorchServeBackend]:
    async with backend_of(server, tiny_store) as started:
        yield started


def is_red(prediction: Prediction) -> bool:
    return bool((prediction.logits == [[10, 0, 0]]).all())


async def until(backend: TorchServeBackend, ready: bool) -> None:
    async with asyncio.timeout(10):
        while await backend.ready() != ready:
            await asyncio.sleep(0.01)


@asynccontextmanager
async def no_probes(backend: TorchServeBackend) -> AsyncIterator[None]:
    """Keep the watch out of what is being counted."""
    assert backend._watch is not None
    backend._watch.cancel()
    await asyncio.gather(*backend._probes.values(), return_exceptions=True)
    yield


async def test_it_answers(backend: TorchServeBackend) -> None:
    assert await backend.ready()
    assert is_red(await backend.predict("tiny", None, red(3)))


async def test_a_connection_that_breaks_before_an_answer_is_tried_once_more(
    server: UnrulyServer, backend: TorchServeBackend
) -> None:
    async with no_probes(backend):
        before = server.requests
        server.moods = ["reset"]
        assert is_red(await backend.predict("tiny", None, red()))
        assert server.requests == before + 2


async def test_and_not_a_third_time(server: UnrulyServer, backend: TorchServeBackend) -> None:
    async with no_probes(backend):
        before = server.requests
        server.moods = ["reset", "reset"]
        with pytest.raises(UnavailableError, match="cannot be reached"):
            await backend.predict("tiny", None, red())
        assert server.requests == before + 2


async def test_a_connection_that_breaks_within_an_answer_is_not_tried_again(
    server: UnrulyServer, backend: TorchServeBackend
) -> None:
    async with no_probes(backend):
        before = server.requests
        server.moods = ["half"]
        with pytest.raises(UnavailableError):
            await backend.predict("tiny", None, red())
        assert server.requests == before + 1


async def test_one_failure_does_not_make_it_unready(server: UnrulyServer, backend: TorchServeBackend) -> None:
    server.moods = ["died"]
    with pytest.raises(UnavailableError, match="worker failed"):
        await backend.predict("tiny", None, red())
    for _ in range(10):
        assert await backend.ready()
        assert is_red(await backend.predict("tiny", None, red()))


async def test_when_it_hangs_those_who_wait_are_let_go_long_before_their_time_is_over(
    server: UnrulyServer, backend: TorchServeBackend
) -> None:
    server.be("hang")
    began = time.monotonic()
    calls = [backend.predict("tiny", None, red(), deadline=began + 20) for _ in range(50)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert time.monotonic() - began < 5
    assert all(isinstance(answer, UnavailableError) for answer in answers)
    assert not await backend.ready()


async def test_whoever_comes_while_it_hangs_is_told_at_once_and_when_to_come_back(
    server: UnrulyServer, backend: TorchServeBackend
) -> None:
    server.be("hang")
    await until(backend, ready=False)
    began = time.monotonic()
    for _ in range(100):
        with pytest.raises(UnavailableError, match="at the moment") as caught:
            await backend.predict("tiny", None, red())
        assert caught.value.retry_after >= 1
    assert time.monotonic() - began < 1


async def test_a_hang_is_noticed_without_traffic(server: UnrulyServer, backend: TorchServeBackend) -> None:
    server.be("hang")
    await until(backend, ready=False)


async def test_it_comes_back_by_itself(server: UnrulyServer, backend: TorchServeBackend) -> None:
    for mood in ("hang", "reset", "died", "garbage"):
        server.be(mood)  # type: ignore[arg-type]
        await until(backend, ready=False)
        server.be("answer")
        await until(backend, ready=True)
        assert is_red(await backend.predict("tiny", None, red()))


async def test_one_answer_is_not_enough_to_be_back(server: UnrulyServer, backend: TorchServeBackend) -> None:
    server.be("died")
    await until(backend, ready=False)
    server.moods = ["answer", "died"] * 10
    while server.moods:
        assert not await backend.ready()
        await asyncio.sleep(0.01)


async def test_a_server_that_is_slow_and_answers_is_not_taken_to_hang(
    server: UnrulyServer, tiny_store: Path
) -> None:
    patience = 2.0  # a machine that is busy with other tests must not look like a server that hangs
    async with backend_of(server, tiny_store, patience=patience) as backend:
        server.be("hang")
        slow = asyncio.create_task(backend.predict("tiny", None, red()))
        while not backend.load().running:
            await asyncio.sleep(0.01)
        server.mood = "answer"  # for all but the one that waits already
        began = time.monotonic()
        while time.monotonic() - began < 2 * patience:
            assert is_red(await backend.predict("tiny", None, red()))
            await asyncio.sleep(0.02)
        assert await backend.ready()
        server.be("answer")
        assert is_red(await slow)


async def test_a_deadline_that_passes_while_others_are_answered_is_the_callers_own(
    server: UnrulyServer, tiny_store: Path
) -> None:
    async with backend_of(server, tiny_store, patience=1.5) as backend:
        server.moods = ["hang"]
        server.calm.clear()
        late = asyncio.create_task(backend.predict("tiny", None, red(), deadline=time.monotonic() + 0.3))
        while server.moods:
            await asyncio.sleep(0.01)
        assert is_red(await backend.predict("tiny", None, red()))
        with pytest.raises(DeadlineExceededError):
            await late
        server.be("hang")
        began = time.monotonic()
        with pytest.raises(UnavailableError, match="nor anybody else"):
            await backend.predict("tiny", None, red(), deadline=began + 0.3)
        assert time.monotonic() - began < 2


async def test_a_full_queue_is_no_illness_but_a_hang_behind_it_is(
    server: UnrulyServer, backend: TorchServeBackend
) -> None:
    server.be("full")
    for _ in range(10):
        with pytest.raises(OverloadedError):
            await backend.predict("tiny", None, red())
        await asyncio.sleep(INTERVAL / 2)
        assert await backend.ready()
    server.be("hang")
    waiting = asyncio.create_task(backend.predict("tiny", None, red()))
    while backend.load().running == 0:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.05)
    server.mood = "full"  # to every probe from now on
    with pytest.raises(UnavailableError):
        await waiting
    assert not await backend.ready()


async def test_a_batch_that_failed_as_a_whole_is_worth_another_try_and_brings_nobody_down(
    server: UnrulyServer, backend: TorchServeBackend
) -> None:
    server.moods = ["batch"]
    with pytest.raises(BatchFailedError):
        await backend.predict("tiny", None, red())
    assert await backend.ready()
    assert is_red(await backend.predict("tiny", None, red()))


async def test_a_new_connection_reads_no_certificates(
    server: UnrulyServer, backend: TorchServeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[object] = []
    monkeypatch.setattr(ssl, "create_default_context", lambda *_, **__: read.append(None))
    for _ in range(3):
        server.moods = ["reset"]
        assert is_red(await backend.predict("tiny", None, red()))
    assert read == []


async def test_slots_are_free_when_the_server_is_done_or_given_up_on_and_not_before(
    server: UnrulyServer, tiny_store: Path
) -> None:
    async with backend_of(server, tiny_store, max_in_flight=2) as backend:
        server.be("hang")
        gone = [asyncio.create_task(backend.predict("tiny", None, red())) for _ in range(2)]
        while backend.load().running < 2:
            await asyncio.sleep(0.01)
        for task in gone:
            task.cancel()
        await asyncio.gather(*gone, return_exceptions=True)
        with pytest.raises(OverloadedError, match="busy with 2 requests"):
            await backend.predict("tiny", None, red())
        await until(backend, ready=False)
        await asyncio.sleep(0.05)
        assert backend.load().running == 0


async def test_closing_ends_what_hangs(server: UnrulyServer, tiny_store: Path) -> None:
    async with backend_of(server, tiny_store) as backend:
        server.be("hang")
        waiting = asyncio.create_task(backend.predict("tiny", None, red()))
        while not backend.load().running:
            await asyncio.sleep(0.01)
        began = time.monotonic()
        await backend.close()
        assert time.monotonic() - began < 5
        with pytest.raises(UnavailableError):
            await waiting
        assert not await backend.ready()


async def test_every_caller_has_one_answer_and_its_own_in_the_worst_of_weathers(
    server: UnrulyServer, backend: TorchServeBackend
) -> None:
    generator = np.random.default_rng(0)
    asked = answered = refused = 0

    async def ask(until: float) -> None:
        nonlocal asked, answered, refused
        while time.monotonic() < until:
            images = generator.uniform(0, 1, (1, 3, 8, 8)).astype(np.float32)
            asked += 1
            try:
                found = await backend.predict("tiny", None, images, deadline=time.monotonic() + 5)
            except (UnavailableError, OverloadedError):
                refused += 1
                await asyncio.sleep(0.01)
            else:
                answered += 1
                np.testing.assert_allclose(found.logits, 10 * images.mean(axis=(2, 3)), atol=1e-4)

    async def weather() -> None:
        for mood in ("answer", "reset", "half", "hang", "died", "batch", "full", "garbage", "answer"):
            server.be(mood)  # type: ignore[arg-type]
            await asyncio.sleep(0.3)

    await asyncio.gather(weather(), *(ask(time.monotonic() + 2.7) for _ in range(16)))
    assert asked == answered + refused
    assert answered
    assert refused


async def test_what_the_gateway_hands_on_reaches_the_server(server: UnrulyServer, tiny_store: Path) -> None:
    given = {"X-Request-Id": "mine", "traceparent": f"00-{'1' * 32}-{'2' * 16}-01"}
    async with backend_of(server, tiny_store, headers=lambda: given) as backend:
        await backend.predict("tiny", None, red())
    assert server.headers[-1]["x-request-id"] == "mine"
    assert server.headers[-1]["traceparent"] == given["traceparent"]
