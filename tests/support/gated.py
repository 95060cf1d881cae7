"""A model that runs when it is told to, so that a test decides what waits for what."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle import Bundle, ModelStore
from holdfast.manifest import Defence
from serving.backends.base import Prediction
from serving.backends.batching import Batcher, Outputs
from serving.backends.catalogue import Catalogue

SECONDS = 10.0


class GatedModel:
    """Answers ``10 * mean of each channel``, as the tiny bundle does, for every batch that is let through.

    ``started`` holds the sizes of the batches that began, in order.
    """

    def __init__(self, *, open: bool = False) -> None:  # noqa: A002 - the gate's word
        self.started: list[int] = []
        self._permits = threading.Semaphore(0)
        self._open = open
        self._began = threading.Condition()

    def __call__(self, lane: object, images: NDArray[np.float32]) -> Outputs:
        """Wait for the gate, then answer."""
        with self._began:
            self.started.append(len(images))
            self._began.notify_all()
        if not self._open and not self._permits.acquire(timeout=SECONDS):
            raise TimeoutError("the test never let this batch through")
        return (10 * images.mean(axis=(2, 3)),)

    def release(self, batches: int = 1) -> None:
        """Let so many batches through."""
        self._permits.release(batches)

    def open(self) -> None:
        """Let everything through from now on."""
        self._open = True
        self._permits.release(1000)

    async def wait_started(self, batches: int) -> None:
        """Wait until so many batches have begun."""
        await eventually(lambda: len(self.started) >= batches)


class GatedBackend:
    """A backend over a store whose model is a :class:`GatedModel`."""

    name = "gated"

    def __init__(self, store: ModelStore, model: GatedModel, *, max_batch: int = 4, queue: int = 8) -> None:
        self.batcher: Batcher[str] = Batcher(model, max_batch=max_batch, max_queue=queue)
        self._store = store
        self._catalogue = Catalogue()

    async def start(self) -> None:
        """Open the bundles."""
        self._catalogue = Catalogue(self._store)
        self.batcher.start()

    async def close(self) -> None:
        """Close the batcher."""
        await self.batcher.close()

    async def ready(self) -> bool:
        """Always."""
        return True

    def models(self) -> Sequence[Bundle]:
        """The store's bundles."""
        return self._catalogue.bundles

    async def predict(
        self,
        name: str,
        version: str | None,
        images: NDArray[np.float32],
        *,
        defence: Defence = "none",
        deadline: float | None = None,
    ) -> Prediction:
        """Run the gated model."""
        answer = await self.batcher.submit(name, images, deadline=deadline)
        return Prediction(answer.outputs[0], None, answer.timings)


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait until something is so; fail if it never is."""
    end = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("this did not come about")
        await asyncio.sleep(0.002)
