"""Several things at once, but not too many, and their results in order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from itertools import count
from typing import TypeVar

import anyio

T = TypeVar("T")
R = TypeVar("R")


async def gather(work: Callable[[T], Awaitable[R]], items: Iterable[T], concurrency: int) -> list[R]:
    """Do ``work`` on every item, ``concurrency`` at a time; the results, in the order of the items.

    Items are taken as they are needed. The first failure, by its item's place, is raised when what was under
    way has been stopped; that an item cannot be had is one, too.
    """
    results: dict[int, R] = {}
    failures: dict[int, Exception] = {}
    waiting, places = iter(items), count()

    async def go_on(scope: anyio.CancelScope) -> None:
        for place in places:
            try:
                item = next(waiting)
                results[place] = await work(item)
            except StopIteration:  # noqa: PERF203 - what an item costs is far more
                return
            except Exception as error:  # noqa: BLE001 - raised below, whatever it is
                failures[place] = error
                scope.cancel()
                return

    async with anyio.create_task_group() as group:
        for _ in range(concurrency):
            group.start_soon(go_on, group.cancel_scope)
    if failures:
        raise failures[min(failures)]
    return [results[place] for place in range(len(results))]
