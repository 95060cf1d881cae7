"""The TorchServe backend: the store's bundles, run by a TorchServe process that is reached over HTTP.

TorchServe is treated as something that hangs: its /ping answers while no worker does, a request to a worker
that has just died waits for the next one, and a full queue says that there is no worker. So every call has an
end, and health is a real prediction. A slot is free when TorchServe has answered, or is given up on, not when
the caller has gone: what TorchServe has queued cannot be taken back.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from holdfast import npy
from holdfast.bundle import WEIGHTS, Bundle, BundleNotFoundError, ModelStore
from holdfast.manifest import Defence
from serving import tracing
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
from serving.backends.load import Load

logger = logging.getLogger(__name__)

#: TorchServe's own limit of a request's body is 6,553,500 bytes unless it is told otherwise.
_MAX_BODY = 6_000_000
#: Within one machine, a connection that is not made at once is not going to be.
_CONNECT_TIMEOUT = 5.0
#: What a call is told to wait before it tries again.
_RETRY_AFTER = 1.0

_START_IT = "Start it with: holdfast torchserve"
_PACK_AGAIN = "Make it again with: holdfast archive {name}/{version} --force, then restart TorchServe."


class NotServedError(UnavailableError):
    """TorchServe answers, but not for this model and version."""


class OtherWeightsError(UnavailableError):
    """TorchServe serves other weights under this name and version than the store has."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """TorchServe's answer to one request."""

    logits: NDArray[np.float32]
    manifold: NDArray[np.float32] | None
    moved: NDArray[np.float32] | None
    inference: float
    batch_size: int


class TorchServeBackend:
    """Serves those bundles of a store that TorchServe has archives of.

    It owns the connections, the slots of the requests in flight, and the task that watches TorchServe.

    Args:
        store: Where the bundles are: classes, input, and the weights that TorchServe's must be.
        url: TorchServe's inference address.
        max_in_flight: Requests that TorchServe may hold at once; more are refused.
        timeout: Seconds until a request is given up on, whatever its deadline.
        start_timeout: Seconds that :meth:`start` waits for TorchServe.
        health_interval: Seconds between looks at TorchServe when there is no traffic to learn from.
        request_id: Asked for the id of the request that is being answered, to pass on as ``X-Request-Id``.
    """

    name = "torchserve"

    def __init__(
        self,
        store: ModelStore,
        url: str = "http://127.0.0.1:8080",
        *,
        max_in_flight: int = 96,
        timeout: float = 30.0,
        start_timeout: float = 60.0,
        health_interval: float = 1.0,
        request_id: Callable[[], str] = lambda: "",
    ) -> None:
        self._store = store
        self._url = url.rstrip("/")
        self._max_in_flight = max_in_flight
        self._timeout = timeout
        self._start_timeout = start_timeout
        self._health_interval = health_interval
        self._request_id = request_id
        self._catalogue = Catalogue()
        self._client: httpx.AsyncClient | None = None
        self._calls: set[asyncio.Task[_Answer]] = set()
        self._watch: asyncio.Task[None] | None = None
        #: When each model was last seen to answer; a model that failed since is not in it.
        self._seen: dict[tuple[str, str], float] = {}

    async def start(self) -> None:
        """Open the store's bundles and wait until TorchServe has answered for those that it serves.

        Raises:
            HoldfastError: The store has no bundle, or TorchServe does not answer, serves none of them, or
                serves other weights than the store's.
        """
        bundles = await asyncio.to_thread(lambda: list(self._store))
        if not bundles:
            raise BundleNotFoundError(
                f"The model store {self._store.root} holds no bundle.",
                hint="Export one into it with: holdfast export",
            )
        self._client = httpx.AsyncClient(
            base_url=self._url,
            timeout=httpx.Timeout(self._timeout, connect=_CONNECT_TIMEOUT),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=self._max_in_flight),
            trust_env=False,  # a proxy has no business between two processes of one machine
        )
        try:
            served = await self._wait_for(bundles)
        except BaseException:
            await self.close()
            raise
        self._catalogue = Catalogue(served)
        self._watch = asyncio.create_task(self._keep_watching(), name="torchserve-health")

    async def close(self) -> None:
        """Wait for the requests in flight, then close the connections."""
        if self._watch is not None:
            self._watch.cancel()
            with suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        client, self._client = self._client, None
        if self._calls:
            await asyncio.wait(set(self._calls))
        if client is not None:
            await client.aclose()
        self._seen.clear()

    async def ready(self) -> bool:
        """Whether every model answered when it was last looked at."""
        if self._watch is None or self._watch.done():
            return False
        return all(_key(bundle) in self._seen for bundle in self.models())

    def models(self) -> Sequence[Bundle]:
        """The bundles that TorchServe serves, by name, oldest version first."""
        return self._catalogue.bundles

    async def reload(self) -> Reload:
        """See :meth:`serving.backends.base.Backend.reload`; here nothing can be taken."""
        raise ReloadUnsupportedError("TorchServe takes its models only when it starts.")

    def load(self) -> Load:
        """See :meth:`serving.backends.load.Loaded.load`; what is sent waits and runs at TorchServe."""
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
            raise DeadlineExceededError("The time for the request ran out before TorchServe was asked.")
        parts = self._split(images)
        if len(self._calls) + len(parts) > self._max_in_flight:
            raise OverloadedError(
                f"TorchServe is busy with {len(self._calls)} requests.", retry_after=_RETRY_AFTER
            )
        calls = [self._call(bundle, part, defence) for part in parts]
        answers = await _all_before(deadline, calls)
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
        """The images in parts that TorchServe takes in one body."""
        size = max(1, _MAX_BODY // images[0].nbytes)
        return [images[start : start + size] for start in range(0, len(images), size)]

    def _call(self, bundle: Bundle, images: NDArray[np.float32], defence: Defence) -> asyncio.Task[_Answer]:
        """Ask TorchServe in a task of its own, which keeps its slot until TorchServe is done with it."""
        task = asyncio.create_task(self._ask(bundle, images, self._timeout, defence))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        # A caller that has gone will not ask what became of it.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _ask(
        self, bundle: Bundle, images: NDArray[np.float32], timeout: float, defence: Defence = "none"
    ) -> _Answer:
        """One request to TorchServe, and what it means for the model's health.

        Raises:
            BackendError: There is no answer that can be used.
        """
        try:
            async with asyncio.timeout(timeout):
                response = await self._post(bundle, images, defence)
            answer = _read(response, bundle, len(images))
        except TimeoutError:
            self._seen.pop(_key(bundle), None)
            raise UnavailableError(f"TorchServe did not answer within {timeout:g} s.") from None
        except httpx.HTTPError as error:
            self._seen.pop(_key(bundle), None)
            raise UnavailableError(
                f"TorchServe cannot be reached ({type(error).__name__}).", hint=_START_IT
            ) from None
        except UnavailableError:
            self._seen.pop(_key(bundle), None)
            raise
        self._seen[_key(bundle)] = time.monotonic()
        return answer

    async def _post(self, bundle: Bundle, images: NDArray[np.float32], defence: Defence) -> httpx.Response:
        client = self._client
        if client is None:
            raise UnavailableError("The connection to TorchServe is closed.")
        headers = {"Content-Type": npy.MEDIA_TYPE, "X-Holdfast-Defence": defence}
        if request_id := self._request_id():
            headers["X-Request-Id"] = request_id
        path, body = f"/predictions/{bundle.name}/{bundle.version}", npy.encode(images)
        with tracing.call("TorchServe", f"{self._url}{path}"):
            headers |= tracing.headers()
            try:
                return await client.post(path, content=body, headers=headers)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                # A kept connection may be closed just as it is used again. A prediction changes nothing, so
                # it may be asked for twice.
                return await client.post(path, content=body, headers=headers)

    async def _wait_for(self, bundles: Sequence[Bundle]) -> list[Bundle]:
        """Those of the bundles that TorchServe serves, once it answers."""
        deadline = time.monotonic() + self._start_timeout
        while True:
            outcomes = await asyncio.gather(*map(self._look_at, bundles))
            fatal = [error for error in outcomes if isinstance(error, OtherWeightsError)]
            waiting = [error for error in outcomes if error and not isinstance(error, NotServedError)]
            if not fatal and not waiting:
                break
            if fatal or time.monotonic() > deadline:
                raise (fatal or waiting)[0]
            await asyncio.sleep(min(0.5, self._health_interval))
        served = [bundle for bundle, error in zip(bundles, outcomes, strict=True) if error is None]
        if not served:
            names = ", ".join(f"{bundle.name} version {bundle.version}" for bundle in bundles)
            raise NotServedError(
                f"TorchServe at {self._url} serves none of the store's models: {names}.",
                hint="Archive one with 'holdfast archive NAME', then restart 'holdfast torchserve'.",
            )
        for bundle in bundles:
            if bundle not in served:
                logger.warning(
                    "TorchServe does not serve %s version %s: left out", bundle.name, bundle.version
                )
        return served

    async def _look_at(self, bundle: Bundle) -> BackendError | None:
        """One real prediction; the error that it ended in, if it did."""
        image = np.zeros((1, *bundle.manifest.input.shape), dtype=np.float32)
        try:
            await self._ask(bundle, image, min(self._timeout, _CONNECT_TIMEOUT))
        except BackendError as error:
            if not isinstance(error, OverloadedError):  # a full queue is no reason to call a model ill
                self._seen.pop(_key(bundle), None)
            return error
        return None

    async def _keep_watching(self) -> None:
        """Look at every model that has not answered of late."""
        while True:
            await asyncio.sleep(self._health_interval)
            recent = time.monotonic() - self._health_interval
            stale = [bundle for bundle in self.models() if self._seen.get(_key(bundle), -math.inf) < recent]
            for bundle, error in zip(stale, await asyncio.gather(*map(self._look_at, stale)), strict=True):
                if error is not None:
                    logger.warning("%s version %s: %s", bundle.name, bundle.version, error.message)


async def _all_before(deadline: float | None, calls: Sequence[asyncio.Task[_Answer]]) -> list[_Answer]:
    """Every call's answer, or the first error; the calls themselves run on."""
    remaining = None if deadline is None else deadline - time.monotonic()
    waiting = asyncio.gather(*map(asyncio.shield, calls))
    try:
        return await asyncio.wait_for(waiting, remaining)
    except TimeoutError:
        raise DeadlineExceededError("TorchServe did not answer in time.") from None


def _joined(parts: Sequence[NDArray[np.float32] | None]) -> NDArray[np.float32] | None:
    """The parts in one array, where every answer had one."""
    whole = [part for part in parts if part is not None]
    return np.concatenate(whole) if len(whole) == len(parts) else None


def _key(bundle: Bundle) -> tuple[str, str]:
    return bundle.name, bundle.version


def _read(response: httpx.Response, bundle: Bundle, images: int) -> _Answer:
    """What TorchServe's response means.

    Raises:
        BackendError: It is no answer.
    """
    if response.status_code != httpx.codes.OK:
        raise _error_of(response, bundle)
    try:
        content: dict[str, Any] = json.loads(response.content)
        logits = np.asarray(content["logits"], dtype=np.float32)
        manifold, moved = (
            np.asarray(content[name], dtype=np.float32) if name in content else None
            for name in ("manifold", "moved")
        )
        weights = content["weights"]
        seconds, batch_size = float(content["inference_seconds"]), int(content["batch_size"])
        answer = _Answer(logits, manifold, moved, seconds, batch_size)
    except (ValueError, TypeError, KeyError):
        raise UnavailableError(
            "TorchServe's answer is not one of Holdfast's handler.",
            hint="It must serve archives made by 'holdfast archive'.",
        ) from None
    if weights != bundle.manifest.files[WEIGHTS].sha256:
        raise OtherWeightsError(
            f"TorchServe serves other weights as {bundle.name} version {bundle.version} than the store has.",
            hint=_PACK_AGAIN.format(name=bundle.name, version=bundle.version),
        )
    if logits.shape != (images, len(bundle.manifest.classes)) or not np.isfinite(logits).all():
        raise InferenceError("TorchServe's answer has the wrong shape or is no finite number.")
    return answer


def _error_of(response: httpx.Response, bundle: Bundle) -> BackendError:
    """The error that a status other than 200 is."""
    status = response.status_code
    if status == httpx.codes.NOT_FOUND:
        return NotServedError(
            f"TorchServe does not serve {bundle.name} version {bundle.version}.",
            hint=f"Archive it with: holdfast archive {bundle.name}/{bundle.version}",
        )
    if status == httpx.codes.SERVICE_UNAVAILABLE and _type_of(response) == "ServiceUnavailableException":
        # Its message blames missing workers, but this is what a full queue is answered with.
        return OverloadedError("TorchServe's queue is full.", retry_after=_RETRY_AFTER)
    if status == httpx.codes.SERVICE_UNAVAILABLE:
        return InferenceError("TorchServe's handler failed on this batch; its log says why.")
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        # 500 and 507: the worker died, or there is no memory for what was asked.
        return UnavailableError(f"TorchServe's worker failed (status {status}); it is being restarted.")
    return InferenceError(f"TorchServe refused the images (status {status}); its log says why.")


def _type_of(response: httpx.Response) -> str:
    try:
        return str(json.loads(response.content)["type"])
    except (ValueError, TypeError, KeyError):
        return ""
