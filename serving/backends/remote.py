"""What all backends over HTTP have in common: slots, deadlines, health, and an end to every wait.

A server elsewhere is treated as something that hangs. Every call has an end; health is a real prediction; and
once a model is known to be down, nobody waits for it: callers are told so at once, and those who wait already
are let go. Only the watch goes on asking, and when it is answered, so is everybody.

A slot is free when the server has answered, or is given up on, not when the caller has gone: what a server
has queued cannot be taken back.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

import httpx
import numpy as np
from numpy.typing import NDArray

from holdfast.bundle import Bundle, BundleNotFoundError, ModelStore
from holdfast.manifest import Defence
from serving.backends.answer import (
    Answer,
    BatchFailedError,
    NotServedError,
    OtherWeightsError,
    SilentError,
)
from serving.backends.base import (
    BackendError,
    DeadlineExceededError,
    InferenceError,
    OverloadedError,
    Prediction,
    Reload,
    ReloadUnsupportedError,
    Timings,
    UnavailableError,
    UnsupportedDefenceError,
)
from serving.backends.catalogue import Catalogue
from serving.backends.connection import Connection
from serving.backends.health import Health
from serving.backends.load import Load

logger = logging.getLogger(__name__)

#: What a caller is told to wait where the server is full.
RETRY_AFTER = 1.0


@dataclass(slots=True)
class Call:
    """A request on its way. Its end can be brought forward."""

    key: tuple[str, str]
    started: float
    end: asyncio.Timeout | None = None


class RemoteBackend(ABC):
    """Serves those bundles of a store that a server elsewhere has.

    It owns the connections, the slots of the requests in flight, what is known of each model's health, and
    the task that watches them.

    Args:
        store: Where the bundles are: classes, input, thresholds, and what the server's model must be.
        url: The server's address.
        max_in_flight: Requests that the server may hold at once; more are refused.
        timeout: Seconds until a request is given up on, whatever its deadline.
        patience: Seconds for which a model may answer nothing at all before it is taken to hang.
        start_timeout: Seconds that :meth:`start` waits for the server.
        health_interval: Seconds between looks at a model when there is no traffic to learn from.
        headers: Asked, while a request is being answered, for headers to send along, e.g. its id.
    """

    name: ClassVar[str]
    #: What messages call the server.
    title: ClassVar[str]
    #: What to do where it cannot be reached.
    start_it: ClassVar[str]
    #: The most bytes of pixels in one request.
    max_body: ClassVar[int]
    #: The most images in one request.
    max_images: int = 1024

    def __init__(
        self,
        store: ModelStore,
        url: str,
        *,
        max_in_flight: int = 96,
        timeout: float = 30.0,
        patience: float = 5.0,
        start_timeout: float = 60.0,
        health_interval: float = 1.0,
        headers: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._store = store
        self._connection = Connection(self.title, url, kept=max_in_flight, headers=headers)
        self._max_in_flight = max_in_flight
        self._timeout = timeout
        self._patience = min(patience, timeout)
        self._start_timeout = start_timeout
        self._health_interval = health_interval
        self._catalogue = Catalogue()
        self._calls: dict[asyncio.Task[Answer], Call] = {}
        self._probes: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._health: dict[tuple[str, str], Health] = {}
        self._trouble = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None

    @abstractmethod
    def _write(self, bundle: Bundle, images: NDArray[np.float32], defence: Defence) -> httpx.Request:
        """The request that asks the server about images."""

    @abstractmethod
    def _read(self, response: httpx.Response, bundle: Bundle, images: int, defence: Defence) -> Answer:
        """What a response says about so many images.

        Raises:
            BackendError: It is no answer.
        """

    async def _meet(self, bundle: Bundle) -> Bundle:
        """Learn, before a model is first asked, how to ask it; the bundle as this server offers it.

        Raises:
            BackendError: The server cannot be reached, or does not serve the model as the bundle has it.
        """
        return bundle

    async def start(self) -> None:
        """Open the store's bundles and wait until the server has answered for those that it serves.

        Raises:
            HoldfastError: The store has no bundle, or the server does not answer, serves none of them, or
                serves other models than the store's.
        """
        bundles = await asyncio.to_thread(lambda: list(self._store))
        if not bundles:
            raise BundleNotFoundError(
                f"The model store {self._store.root} holds no bundle.",
                hint="Export one into it with: holdfast export",
            )
        await self._connection.open()
        try:
            served = await self._wait_for(bundles)
        except BaseException:
            await self.close()
            raise
        self._catalogue = Catalogue(served)
        self._watch = asyncio.create_task(self._keep_watching(), name=f"{self.name}-health")

    async def close(self) -> None:
        """Wait a while for the requests in flight, then close the connections."""
        for task in (self._watch, *self._probes.values()):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        self._watch = None
        self._probes.clear()
        self._connection.shut()
        if self._calls:
            await asyncio.wait(set(self._calls), timeout=self._patience)
        self._let_go(list(self._calls.values()))
        if self._calls:
            await asyncio.wait(set(self._calls))
        await self._connection.close()
        self._health.clear()

    async def ready(self) -> bool:
        """Whether every model answers, as far as is known."""
        if self._watch is None or self._watch.done():
            return False
        return all(self._health[_key(bundle)].up for bundle in self.models())

    def models(self) -> Sequence[Bundle]:
        """The bundles that the server serves, by name, oldest version first."""
        return self._catalogue.bundles

    async def reload(self) -> Reload:
        """See :meth:`serving.backends.base.Backend.reload`; here nothing can be taken."""
        raise ReloadUnsupportedError(f"{self.title} takes its models only when it starts.")

    def load(self) -> Load:
        """See :meth:`serving.backends.load.Loaded.load`; what is sent waits and runs at the server."""
        return Load(waiting=0, running=len(self._calls), limit=self._max_in_flight)

    async def predict(
        self,
        name: str,
        version: str | None,
        images: NDArray[np.float32],
        *,
        defence: Defence = "none",
        deadline: float | None = None,
    ) -> Prediction:
        """See :meth:`serving.backends.base.Backend.predict`."""
        called = time.monotonic()
        bundle = self._catalogue.find(name, version)
        if defence not in bundle.manifest.defences:
            raise UnsupportedDefenceError(
                f"Model '{bundle.name}' version {bundle.version} does not offer the defence '{defence}'.",
                hint=f"It offers: {', '.join(bundle.manifest.defences)}.",
            )
        if deadline is not None and called >= deadline:
            raise DeadlineExceededError(f"The time for the request ran out before {self.title} was asked.")
        health = self._health.get(_key(bundle))
        if health is None:
            raise UnavailableError(f"The connection to {self.title} is closed.")
        if not health.up:
            raise UnavailableError(
                f"{self.title} does not answer for {bundle.name} version {bundle.version} at the moment.",
                retry_after=health.retry_after(called),
            )
        parts = self._split(images)
        if len(self._calls) + len(parts) > self._max_in_flight:
            raise OverloadedError(
                f"{self.title} is busy with {len(self._calls)} requests.", retry_after=RETRY_AFTER
            )
        calls = [self._call(bundle, part, defence) for part in parts]
        try:
            answers = await _all_before(deadline, calls)
        except TimeoutError:
            if health.answered_at < called:  # nobody was answered since: this is no want of time
                raise UnavailableError(
                    f"{self.title} did not answer in the time for this request, nor anybody else.",
                    retry_after=health.retry_after(called),
                ) from None
            raise DeadlineExceededError(f"{self.title} did not answer in time.") from None
        inference = sum(answer.inference for answer in answers)
        return Prediction(
            np.concatenate([answer.logits for answer in answers]),
            _joined([answer.manifold for answer in answers]),
            Timings(
                queue=max(0.0, time.monotonic() - called - inference),
                inference=inference,
                batch_size=max(answer.batch_size for answer in answers),
            ),
            _joined([answer.moved for answer in answers]),
        )

    def _split(self, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """The images in parts that the server takes in one request."""
        size = min(self.max_images, max(1, self.max_body // images[0].nbytes))
        return [images[start : start + size] for start in range(0, len(images), size)]

    def _call(self, bundle: Bundle, images: NDArray[np.float32], defence: Defence) -> asyncio.Task[Answer]:
        """Ask the server in a task of its own, which keeps its slot until the server is done with it."""
        call = Call(_key(bundle), time.monotonic())
        task = asyncio.create_task(self._ask(bundle, images, defence, self._timeout, call))
        self._calls[task] = call
        task.add_done_callback(lambda done: self._calls.pop(done, None))
        # A caller that has gone will not ask what became of it.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _ask(
        self,
        bundle: Bundle,
        images: NDArray[np.float32],
        defence: Defence,
        timeout: float,
        call: Call,
    ) -> Answer:
        """One request, and what it means for the model's health.

        Raises:
            BackendError: There is no answer that can be used.
        """
        health, began = self._health[_key(bundle)], time.monotonic()
        try:
            async with asyncio.timeout(timeout) as end:
                call.end = end
                try:
                    response = await self._connection.send(self._write(bundle, images, defence))
                finally:
                    call.end = None  # which nobody can bring forward any more
            answer = self._read(response, bundle, len(images), defence)
        except TimeoutError:
            waited = time.monotonic() - began
            if health.answered_at < began:
                self._note(bundle, health.hangs(time.monotonic()), f"no answer for {waited:.1f} s")
            raise SilentError(
                f"{self.title} did not answer within {waited:.1f} s.",
                retry_after=health.retry_after(time.monotonic()),
            ) from None
        except httpx.HTTPError as error:
            reason = f"{self.title} cannot be reached ({type(error).__name__})."
            self._note(bundle, health.failed(time.monotonic()), reason)
            raise UnavailableError(reason, hint=self.start_it) from None
        except BatchFailedError:
            self._note(bundle, False, "")
            raise
        except UnavailableError as error:
            self._note(bundle, health.failed(time.monotonic()), error.message)
            raise
        except InferenceError:
            health.answered_at = time.monotonic()  # a refusal is a sign of life
            raise
        if health.answered(time.monotonic()):
            logger.info("%s answers for %s version %s again", self.title, bundle.name, bundle.version)
        return answer

    def _note(self, bundle: Bundle, fell: bool, reason: str) -> None:
        """Look again at once at a model that failed; if it is down because of that, let its callers go."""
        if self._health[_key(bundle)].up:
            self._trouble.set()
        if fell:
            logger.warning(
                "%s version %s is taken to be down: %s", bundle.name, bundle.version, reason.removesuffix(".")
            )
            self._let_go([call for call in self._calls.values() if call.key == _key(bundle)])

    def _failed(self, bundle: Bundle, error: BackendError, began: float) -> None:
        """Note that a look at a model, begun then, ended in an error."""
        health, now = self._health[_key(bundle)], time.monotonic()
        hangs = isinstance(error, SilentError) and health.answered_at < began
        self._note(bundle, health.hangs(now) if hangs else health.failed(now), error.message)

    def _let_go(self, calls: Sequence[Call]) -> None:
        """End the wait of calls now."""
        now = asyncio.get_running_loop().time()
        for call in calls:
            if call.end is not None:
                call.end.reschedule(now)

    async def _wait_for(self, bundles: Sequence[Bundle]) -> list[Bundle]:
        """Those of the bundles that the server serves, once it answers."""
        deadline = time.monotonic() + self._start_timeout
        while True:
            met = await asyncio.gather(*map(self._try, bundles))
            errors = [found for found in met if isinstance(found, BackendError)]
            fatal = [error for error in errors if isinstance(error, OtherWeightsError)]
            waiting = [error for error in errors if not isinstance(error, NotServedError)]
            if not fatal and not waiting:
                break
            if fatal or time.monotonic() > deadline:
                raise (fatal or waiting)[0]
            await asyncio.sleep(min(0.5, self._health_interval))
        served = [found for found in met if isinstance(found, Bundle)]
        if not served:
            names = ", ".join(f"{bundle.name} version {bundle.version}" for bundle in bundles)
            raise NotServedError(
                f"{self.title} at {self._connection.url} serves none of the store's models: {names}.",
                hint=next((error.hint for error in errors if error.hint), ""),
            )
        for bundle, found in zip(bundles, met, strict=True):
            if isinstance(found, BackendError):
                logger.warning("%s version %s is left out: %s", bundle.name, bundle.version, found.message)
        return served

    async def _try(self, bundle: Bundle) -> Bundle | BackendError:
        """Meet a model and ask it once; the error that this ended in, if it did."""
        health = self._health.setdefault(_key(bundle), Health())
        try:
            offered = await self._meet(bundle)
            await self._look(offered)
        except BackendError as error:
            return error
        health.trust(time.monotonic())
        return offered

    async def _look(self, bundle: Bundle) -> None:
        """One real prediction, of an image that no model refuses."""
        image = np.zeros((1, *bundle.manifest.input.shape), dtype=np.float32)
        try:
            await self._ask(bundle, image, "none", self._patience, Call(_key(bundle), time.monotonic()))
        except InferenceError as error:
            self._failed(bundle, error, math.inf)
            raise

    async def _probe(self, bundle: Bundle) -> None:
        """Look at a model; what comes of it is in its health."""
        with suppress(BackendError):  # a full queue, too, is no reason to call a model ill
            await self._look(bundle)
            if not self._health[_key(bundle)].up:
                self._trouble.set()  # it may be back: make sure of it

    async def _keep_watching(self) -> None:
        """Look at every model that has not answered of late, and at once at one that failed."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._trouble.wait(), min(self._health_interval, self._patience / 4))
            troubled = self._trouble.is_set()
            self._trouble.clear()
            now = time.monotonic()
            for bundle in self.models():
                key, health = _key(bundle), self._health[_key(bundle)]
                self._notice_hang(bundle, health, now)
                stale = now - health.answered_at >= self._health_interval
                if (stale or troubled) and (key not in self._probes or self._probes[key].done()):
                    self._probes[key] = asyncio.create_task(self._probe(bundle), name=f"{self.name}-probe")
            if troubled:  # what fails at once must not be asked all the time
                await asyncio.sleep(min(0.1, self._health_interval))

    def _notice_hang(self, bundle: Bundle, health: Health, now: float) -> None:
        """Call a model down that has answered nobody for too long: a full queue hides that from a probe."""
        begun = min((c.started for c in self._calls.values() if c.key == _key(bundle)), default=math.inf)
        if now - max(begun, health.answered_at) > self._patience:
            self._note(bundle, health.hangs(now), f"no answer for {self._patience:g} s")


async def _all_before(deadline: float | None, calls: Sequence[asyncio.Task[Answer]]) -> list[Answer]:
    """Every call's answer, or the first error; the calls themselves run on.

    Raises:
        TimeoutError: The deadline passed.
    """
    remaining = None if deadline is None else deadline - time.monotonic()
    return await asyncio.wait_for(asyncio.gather(*map(asyncio.shield, calls)), remaining)


def _joined(parts: Sequence[NDArray[np.float32] | None]) -> NDArray[np.float32] | None:
    """The parts in one array, where every answer had one."""
    whole = [part for part in parts if part is not None]
    return np.concatenate(whole) if len(whole) == len(parts) else None


def _key(bundle: Bundle) -> tuple[str, str]:
    return bundle.name, bundle.version
