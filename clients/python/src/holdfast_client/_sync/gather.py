"""Several things at once, but not too many, and their results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def gather(work: Callable[[T], R], items: Iterable[T], concurrency: int) -> list[R]:
    """Do ``work`` on every item, ``concurrency`` at a time; the results, in the order of the items.

    Items are taken as they are needed. The first failure, by its item's place, is raised when what was under
    way has ended.
    """
    results: list[R] = []
    pending: deque[Future[R]] = deque()
    executor = ThreadPoolExecutor(concurrency, thread_name_prefix="holdfast-client")
    try:
        for item in items:
            if len(pending) >= 2 * concurrency:  # some are ready to begin while the oldest is still at it
                results.append(pending.popleft().result())
            pending.append(executor.submit(work, item))
        results.extend(future.result() for future in pending)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
    return results
