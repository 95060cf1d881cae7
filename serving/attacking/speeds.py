"""What the passes of each model take: measured once, by whoever asks first, for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from holdfast.attacking.cost import Speed
from holdfast.bundle import Bundle
from holdfast.manifest import Defence
from serving.backends.base import DeadlineExceededError

#: A model by its digest, behind a defence.
_Key = tuple[str, Defence]
#: Models are replaced while the server runs: no more speeds than these are kept.
_MOST = 1024


class Speeds:
    """Speeds by model and defence. Touched from the event loop only.

    Args:
        measure: Measures one; a failure is nobody's speed, and the next who asks tries again.
    """

    def __init__(self, measure: Callable[[Bundle, Defence], Coroutine[Any, Any, Speed]]) -> None:
        self._measure = measure
        self._speeds: dict[_Key, asyncio.Task[Speed]] = {}

    async def get(self, bundle: Bundle, defence: Defence, *, deadline: float) -> Speed:
        """The speed of a model; see :meth:`serving.attacking.base.Attacker.speed`."""
        key = (bundle.manifest.digest, defence)
        if key not in self._speeds:
            while len(self._speeds) >= _MOST:
                del self._speeds[next(iter(self._speeds))]
            self._speeds[key] = asyncio.create_task(self._measure(bundle, defence))
            self._speeds[key].add_done_callback(partial(self._forget_failure, key))
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                # Others may wait for the same, so nobody's going stops it.
                return await asyncio.shield(self._speeds[key])
        except TimeoutError:
            raise DeadlineExceededError(
                "The time for this request ran out while the model was opened for attacks."
            ) from None

    def close(self) -> None:
        """Measure nothing more."""
        for task in self._speeds.values():
            task.cancel()

    def _forget_failure(self, key: _Key, task: asyncio.Task[Speed]) -> None:
        if task.cancelled() or task.exception() is not None:
            self._speeds.pop(key, None)
