"""What waits together runs together, nothing waits for company, and nobody pays for another's failure."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from support.gated import GatedModel, eventually

from serving.backends.base import (
    DeadlineExceededError,
    InferenceError,
    OverloadedError,
    UnavailableError,
)
from serving.backends.batching import Answer, Batcher, Outputs

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def running(
    run: Callable[[str, np.ndarray], Outputs],
    *,
    max_batch: int = 4,
    max_queue: int = 100,
    max_delay: float = 0.0,
    workers: int = 1,
) -> AsyncIterator[Batcher[str]]:
    batcher: Batcher[str] = Batcher(
        run, max_batch=max_batch, max_queue=max_queue, max_delay=max_delay, workers=workers
    )
    batcher.start()
    try:
        yield batcher
    finally:
        if isinstance(run, GatedModel):
            run.open()
        await batcher.close()


def images(*greys: float) -> np.ndarray:
    """One image for each grey, which the model answers with ten times the grey in every channel."""
    return np.stack([np.full((3, 2, 2), grey, dtype=np.float32) for grey in greys])


def greys(answer: Answer) -> list[float]:
    return [round(float(row[0]) / 10, 6) for row in answer.outputs[0]]


async def busy(batcher: Batcher[str], model: GatedModel) -> asyncio.Task[Answer]:
    """Occupy the batcher's only worker; the task ends when the model lets the batch through."""
    task = asyncio.create_task(batcher.submit("lane", images(0.0)))
    await model.wait_started(1)
    return task


async def test_lone_request_runs_at_once_however_long_the_delay_is() -> None:
    async with running(GatedModel(open=True), max_delay=3600, max_batch=64) as batcher:
        for _ in range(3):
            await asyncio.sleep(0.02)
            answer = await batcher.submit("lane", images(0.5))
            assert answer.timings.batch_size == 1


async def test_lone_caller_is_never_held_back_however_fast_it_comes_again() -> None:
    async with asyncio.timeout(60), running(GatedModel(open=True), max_delay=3600) as batcher:
        for _ in range(300):
            await batcher.submit("lane", images(0.5))


async def test_what_queues_while_the_worker_is_busy_becomes_one_batch() -> None:
    model = GatedModel()
    async with running(model, max_batch=4) as batcher:
        first = await busy(batcher, model)
        others = [asyncio.create_task(batcher.submit("lane", images(grey / 10))) for grey in range(6)]
        await eventually(lambda: batcher.waiting == 6)
        model.open()
        answers = await asyncio.gather(first, *others)
    assert model.started == [1, 4, 2]
    assert [answer.timings.batch_size for answer in answers] == [1, 4, 4, 4, 4, 2, 2]


async def test_each_caller_gets_the_answers_for_its_own_images_in_their_order() -> None:
    model = GatedModel()
    async with running(model, max_batch=8) as batcher:
        first = await busy(batcher, model)
        asked = [(0.1,), (0.2, 0.3, 0.4), (0.5, 0.6)]
        others = [asyncio.create_task(batcher.submit("lane", images(*each))) for each in asked]
        await eventually(lambda: batcher.waiting == 6)
        model.open()
        answers = await asyncio.gather(*others)
        await first
    assert model.started == [1, 6]
    assert [greys(answer) for answer in answers] == [list(each) for each in asked]


async def test_request_larger_than_a_batch_is_split_and_joined_in_order() -> None:
    model = GatedModel(open=True)
    async with running(model, max_batch=4) as batcher:
        asked = [grey / 20 for grey in range(11)]
        answer = await batcher.submit("lane", images(*asked))
    assert model.started == [4, 4, 3]
    assert greys(answer) == asked
    assert answer.timings.batch_size == 4


async def test_lanes_never_share_a_batch_and_the_longest_waiting_goes_first() -> None:
    seen: list[tuple[str, int]] = []
    model = GatedModel()

    def run(lane: str, batch: np.ndarray) -> Outputs:
        seen.append((lane, len(batch)))
        return model(lane, batch)

    async with running(run) as batcher:
        first = await busy(batcher, model)
        tasks = []
        for lane in ("b", "a", "b"):
            tasks.append(asyncio.create_task(batcher.submit(lane, images(0.5))))
            await eventually(lambda: batcher.waiting == len(tasks))
        model.open()
        await asyncio.gather(first, *tasks)
    assert seen == [("lane", 1), ("b", 2), ("a", 1)]


async def test_busy_worker_waits_for_company_as_long_as_the_delay_allows() -> None:
    model = GatedModel()
    async with running(model, max_batch=2, max_delay=30) as batcher:
        first = await busy(batcher, model)
        second = asyncio.create_task(batcher.submit("lane", images(0.2)))
        await eventually(lambda: batcher.waiting == 1)
        model.open()
        await first
        await asyncio.sleep(0.1)
        assert (model.started, batcher.waiting) == ([1], 1)
        third = asyncio.create_task(batcher.submit("lane", images(0.3)))
        assert [greys(answer) for answer in await asyncio.gather(second, third)] == [[0.2], [0.3]]
    assert model.started == [1, 2]


async def test_batch_that_nobody_joins_runs_when_the_delay_is_over() -> None:
    model = GatedModel()
    async with running(model, max_batch=2, max_delay=0.2) as batcher:
        first = await busy(batcher, model)
        second = asyncio.create_task(batcher.submit("lane", images(0.2)))
        await eventually(lambda: batcher.waiting == 1)
        model.open()
        await first
        assert (await second).timings.queue >= 0.19
    assert model.started == [1, 1]


async def test_full_batch_is_not_held_back_by_the_delay() -> None:
    model = GatedModel()
    async with running(model, max_batch=2, max_delay=3600) as batcher:
        first = await busy(batcher, model)
        others = [asyncio.create_task(batcher.submit("lane", images(0.5))) for _ in range(2)]
        await eventually(lambda: batcher.waiting == 2)
        model.open()
        await asyncio.gather(first, *others)
    assert model.started == [1, 2]


async def test_full_batch_does_not_wait_behind_one_that_is_held_back() -> None:
    model = GatedModel()
    async with running(model, max_batch=2, max_delay=3600) as batcher:
        first = await busy(batcher, model)
        held_back = asyncio.create_task(batcher.submit("other", images(0.1)))
        await eventually(lambda: batcher.waiting == 1)
        full = asyncio.create_task(batcher.submit("lane", images(0.2, 0.3)))
        await eventually(lambda: batcher.waiting == 3)
        model.open()
        assert greys(await full) == [0.2, 0.3]
        await first
        assert batcher.waiting == 1
        held_back.cancel()
        await asyncio.gather(held_back, return_exceptions=True)
    assert model.started == [1, 2]


async def test_queue_counts_images_not_requests_and_refuses_what_does_not_fit() -> None:
    model = GatedModel()
    async with running(model, max_queue=5) as batcher:
        first = await busy(batcher, model)
        three = asyncio.create_task(batcher.submit("lane", images(0.1, 0.2, 0.3)))
        await eventually(lambda: batcher.waiting == 3)
        with pytest.raises(OverloadedError) as refused:
            await batcher.submit("lane", images(0.1, 0.2, 0.3))
        assert refused.value.retry_after >= 0
        two = asyncio.create_task(batcher.submit("other", images(0.1, 0.2)))
        await eventually(lambda: batcher.waiting == 5)
        with pytest.raises(OverloadedError):
            await batcher.submit("lane", images(0.1))
        model.open()
        await asyncio.gather(first, three, two)
        assert greys(await batcher.submit("lane", images(0.7))) == [0.7]
    assert batcher.waiting == batcher.running == 0


async def test_time_to_come_back_grows_with_what_waits() -> None:
    def slow(lane: str, batch: np.ndarray) -> Outputs:
        time.sleep(0.02 * len(batch))
        return (batch.mean(axis=(2, 3)),)

    async with running(slow, max_batch=1, max_queue=60) as batcher:
        await batcher.submit("lane", images(0.1))
        waiting = [asyncio.create_task(batcher.submit("lane", images(0.1))) for _ in range(60)]
        await eventually(lambda: batcher.waiting >= 50)
        with pytest.raises(OverloadedError) as refused:
            await batcher.submit("lane", images(*[0.1] * 20))
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    assert 0.5 < refused.value.retry_after < 10


async def test_twice_the_load_that_the_model_bears_leaves_most_of_its_work_answered_in_time() -> None:
    ran = 0

    def slow(lane: str, batch: np.ndarray) -> Outputs:
        nonlocal ran
        time.sleep(0.01 * len(batch))
        ran += len(batch)
        return (batch.mean(axis=(2, 3)),)

    # A full queue takes a second, each caller has half of one, and what the model does is not the whole load.
    async with running(slow, max_batch=4, max_queue=100) as batcher:
        tasks = []
        for number in range(500):
            tasks.append(
                asyncio.create_task(batcher.submit("lane", images(0.1), deadline=time.monotonic() + 0.5))
            )
            if number % 2:
                await asyncio.sleep(0.01)
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    answered = sum(isinstance(outcome, Answer) for outcome in outcomes)
    refused = [outcome for outcome in outcomes if isinstance(outcome, OverloadedError)]
    assert answered > 0.6 * ran
    assert answered + len(refused) > 0.8 * len(outcomes), "almost nobody waits in vain"
    assert any("longer than this request has" in each.message and each.retry_after > 0 for each in refused)


async def test_whoever_finds_nobody_waiting_is_let_in_whatever_the_pace_was() -> None:
    model = GatedModel()

    def run(lane: str, batch: np.ndarray) -> Outputs:
        if not model.started:
            time.sleep(0.5)
        return model(lane, batch)

    async with running(run, max_batch=1) as batcher:
        model.release()
        await batcher.submit("lane", images(0.1))
        first = asyncio.create_task(batcher.submit("lane", images(0.1)))
        await model.wait_started(2)
        in_time = time.monotonic() + 0.4  # less than one image takes, as far as is known
        second = asyncio.create_task(batcher.submit("lane", images(0.2), deadline=in_time))
        await eventually(lambda: batcher.waiting == 1)
        with pytest.raises(OverloadedError, match="longer than this request has"):
            await batcher.submit("lane", images(0.3), deadline=in_time)
        third = asyncio.create_task(batcher.submit("lane", images(0.3)))  # it has all the time
        await eventually(lambda: batcher.waiting == 2)
        model.open()
        assert [greys(await each) for each in (first, second, third)] == [[0.1], [0.2], [0.3]]


async def test_caller_that_goes_away_frees_its_places_and_its_images_never_run() -> None:
    model = GatedModel()
    async with running(model, max_queue=4) as batcher:
        first = await busy(batcher, model)
        gone = asyncio.create_task(batcher.submit("lane", images(0.1, 0.2, 0.3, 0.4)))
        await eventually(lambda: batcher.waiting == 4)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert batcher.waiting == 0
        next_in_line = asyncio.create_task(batcher.submit("lane", images(0.5, 0.6)))
        await eventually(lambda: batcher.waiting == 2)
        model.open()
        assert greys(await next_in_line) == [0.5, 0.6]
        await first
    assert model.started == [1, 2]


async def test_worker_is_free_only_when_the_work_is_over_even_if_the_caller_has_gone() -> None:
    model = GatedModel()
    async with running(model) as batcher:
        first = await busy(batcher, model)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        waiting = asyncio.create_task(batcher.submit("lane", images(0.5)))
        await eventually(lambda: batcher.waiting == 1)
        await asyncio.sleep(0.05)
        assert (batcher.running, batcher.waiting, model.started) == (1, 1, [1])
        model.open()
        assert greys(await waiting) == [0.5]


async def test_deadline_drops_work_that_is_still_queued() -> None:
    model = GatedModel()
    async with running(model) as batcher:
        first = await busy(batcher, model)
        with pytest.raises(DeadlineExceededError):
            await batcher.submit("lane", images(0.1, 0.2), deadline=time.monotonic() + 0.05)
        assert batcher.waiting == 0
        model.open()
        await first
        assert greys(await batcher.submit("lane", images(0.3), deadline=time.monotonic() + 5)) == [0.3]
    assert model.started == [1, 1]


async def test_deadline_that_has_passed_is_not_even_queued() -> None:
    model = GatedModel(open=True)
    async with running(model) as batcher:
        with pytest.raises(DeadlineExceededError):
            await batcher.submit("lane", images(0.1), deadline=time.monotonic() - 1)
    assert model.started == []


async def test_deadline_ends_the_wait_for_a_model_that_hangs() -> None:
    model = GatedModel()
    async with running(model) as batcher:
        with pytest.raises(DeadlineExceededError):
            await batcher.submit("lane", images(0.1), deadline=time.monotonic() + 0.05)
        assert batcher.running == 1


async def test_image_that_the_model_fails_on_fails_its_own_caller_alone() -> None:
    model = GatedModel()

    def run(lane: str, batch: np.ndarray) -> Outputs:
        outputs = model(lane, batch)
        if (batch > 0.9).any():
            raise RuntimeError("secret")
        return outputs

    async with running(run, max_batch=8) as batcher:
        first = await busy(batcher, model)
        tasks = [
            asyncio.create_task(batcher.submit("lane", images(*each)))
            for each in ((0.1, 0.2), (0.3, 1.0), (0.4,))
        ]
        await eventually(lambda: batcher.waiting == 5)
        model.open()
        good, bad, fine = await asyncio.gather(*tasks, return_exceptions=True)
        await first
        assert greys(await batcher.submit("lane", images(0.6))) == [0.6]
    assert isinstance(good, Answer)
    assert greys(good) == [0.1, 0.2]
    assert isinstance(fine, Answer)
    assert greys(fine) == [0.4]
    assert isinstance(bad, InferenceError)
    assert "secret" not in bad.message


async def test_failing_batch_answers_every_caller_in_it() -> None:
    model = GatedModel()

    def run(lane: str, batch: np.ndarray) -> Outputs:
        model(lane, batch)
        raise RuntimeError("the model is broken")

    async with running(run) as batcher:
        tasks = [asyncio.create_task(batcher.submit("lane", images(0.1))) for _ in range(5)]
        await eventually(lambda: batcher.waiting + batcher.running == 5)
        model.open()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [InferenceError] * 5
    assert batcher.waiting == batcher.running == 0


async def test_model_that_answers_too_few_rows_is_a_failure_and_not_a_wrong_answer() -> None:
    async with running(lambda lane, batch: (batch[:1, :, 0, 0],)) as batcher:
        with pytest.raises(InferenceError):
            await batcher.submit("lane", images(0.1, 0.2))


async def test_several_workers_run_batches_at_the_same_time() -> None:
    model = GatedModel()
    async with running(model, workers=2, max_batch=1) as batcher:
        tasks = [asyncio.create_task(batcher.submit("lane", images(0.1))) for _ in range(3)]
        await model.wait_started(2)
        await asyncio.sleep(0.05)
        assert (len(model.started), batcher.running, batcher.waiting) == (2, 2, 1)
        model.open()
        await asyncio.gather(*tasks)


async def test_close_refuses_what_is_queued_and_finishes_what_is_running() -> None:
    model = GatedModel()
    async with running(model) as batcher:
        first = await busy(batcher, model)
        queued = asyncio.create_task(batcher.submit("lane", images(0.5)))
        await eventually(lambda: batcher.waiting == 1)
        closing = asyncio.create_task(batcher.close())
        with pytest.raises(UnavailableError):
            await queued
        assert not first.done()
        model.open()
        await closing
        assert greys(await first) == [0.0]
        with pytest.raises(UnavailableError):
            await batcher.submit("lane", images(0.5))
    assert model.started == [1]


async def test_many_callers_under_cancellation_leave_nothing_behind() -> None:
    def slow(lane: str, batch: np.ndarray) -> Outputs:
        time.sleep(0.001)
        return (10 * batch.mean(axis=(2, 3)),)

    async with running(slow, max_batch=8, max_queue=1000, workers=2) as batcher:
        asked = [
            tuple((number % 10) / 10 for number in range(start, start + 1 + start % 5))
            for start in range(120)
        ]
        tasks = [
            asyncio.create_task(batcher.submit(f"lane {len(each) % 3}", images(*each))) for each in asked
        ]
        for number, task in enumerate(tasks):
            if number % 4 == 0:
                await asyncio.sleep(0)
                task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await eventually(lambda: batcher.running == 0)
        assert batcher.waiting == 0
    answered = [
        (each, outcome) for each, outcome in zip(asked, outcomes, strict=True) if isinstance(outcome, Answer)
    ]
    assert len(answered) >= 90
    assert all(greys(outcome) == list(each) for each, outcome in answered)
