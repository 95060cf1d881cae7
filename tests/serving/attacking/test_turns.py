"""Under more load than the slots bear, what is begun comes to its end; what is believed of work is learnt."""

from __future__ import annotations

import asyncio
import time

import pytest

from serving.attacking.turns import Turn, Turns
from serving.backends.base import DeadlineExceededError, OverloadedError

pytestmark = pytest.mark.anyio

#: Seconds that a piece of work takes.
TAKES = 0.1


async def work(stop: asyncio.Event) -> bool:
    """Take the time that work takes, or less if it is stopped; whether it came to its end."""
    try:
        async with asyncio.timeout(TAKES):
            await stop.wait()
    except TimeoutError:
        return True
    return False


async def overload(turns: Turns, *, price: float, pieces: int) -> list[Turn[bool] | BaseException]:
    """Ask for twice as much as two slots can do, each with half a second of time."""
    tasks = []
    for _ in range(pieces):
        tasks.append(
            asyncio.create_task(turns.take(work, expected=price, deadline=time.monotonic() + 5 * TAKES))
        )
        await asyncio.sleep(TAKES / 4)
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    await turns.finished()
    return outcomes


@pytest.mark.parametrize("factor", [1.0, 5.0, 0.2], ids=["its price", "too high a price", "too low a price"])
async def test_twice_the_load_that_the_slots_bear_leaves_most_of_it_done(factor: float) -> None:
    # Twenty that wait take a second: whoever comes to the end of the full queue comes too late.
    turns = Turns(2, 20)
    began = time.monotonic()
    outcomes = await overload(turns, price=factor * TAKES, pieces=100)
    seconds = time.monotonic() - began
    done = sum(isinstance(each, Turn) for each in outcomes)
    refused = [each for each in outcomes if isinstance(each, OverloadedError)]
    assert done > 0.6 * 2 * seconds / TAKES
    assert any("would take longer than the request has" in each.message for each in refused)
    assert all(each.retry_after > 0 for each in refused)


async def test_what_would_be_done_in_time_waits_and_what_would_not_is_told_when_to_come_back() -> None:
    turns = Turns(1, 20)
    gate = asyncio.Event()

    async def gated(stop: asyncio.Event) -> None:
        del stop
        await gate.wait()

    def ask(expected: float, seconds: float) -> asyncio.Task[Turn[None]]:
        return asyncio.create_task(turns.take(gated, expected=expected, deadline=time.monotonic() + seconds))

    tasks = [ask(10, 60), ask(10, 60)]
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError) as refused:
        await ask(10, 25)
    assert refused.value.retry_after == pytest.approx(5, abs=0.5)
    tasks.append(ask(4, 25))
    await asyncio.sleep(0)
    assert turns.waiting == 2
    gate.set()
    await asyncio.gather(*tasks)


async def test_a_free_slot_takes_work_whatever_is_believed_of_it() -> None:
    turns = Turns(1, 20)
    turn = await turns.take(work, expected=3600, deadline=time.monotonic() + 5)
    assert turn.found


async def test_work_that_is_always_stopped_does_not_look_quick() -> None:
    turns = Turns(1, 20)

    async def endless(stop: asyncio.Event) -> None:
        await stop.wait()

    for _ in range(10):
        with pytest.raises(DeadlineExceededError):
            await turns.take(endless, expected=10, deadline=time.monotonic() + 0.01)
        await turns.finished()
    first = asyncio.create_task(turns.take(endless, expected=10, deadline=time.monotonic() + 60))
    await asyncio.sleep(0)
    with pytest.raises(OverloadedError):
        await turns.take(endless, expected=10, deadline=time.monotonic() + 15)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
