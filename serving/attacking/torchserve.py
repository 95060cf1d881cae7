"""Attacks in TorchServe's workers, on its accelerator where it has one, by the handler's own oracle.

TorchServe cannot be told that a caller has gone, and takes nothing back. So an order says itself when the
attack is to stop, and an attack that nobody waits for any more runs to its end or to that time; its place is
taken until then.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from holdfast import npy
from holdfast.attacking import remote
from holdfast.attacking.cost import Speed
from holdfast.attacking.execution import Attacked
from holdfast.attacks import attack_of
from holdfast.bundle import WEIGHTS, Bundle
from holdfast.manifest import Defence
from serving.attacking.base import Attacker, Carried, NotApplicableError, Order, Watcher
from serving.attacking.speeds import Speeds
from serving.attacking.turns import Turns
from serving.backends.base import DeadlineExceededError, InferenceError, UnavailableError

logger = logging.getLogger(__name__)

#: Seconds for a model's passes to be measured.
_MEASURING = 60.0
#: Seconds beyond an order's own time for its answer to arrive.
_MARGIN = 10.0
_CONNECT_TIMEOUT = 5.0


class _NotServedError(UnavailableError):
    """TorchServe has no workers that attack this model."""


class TorchServeAttacker:
    """Carries out attacks in TorchServe; see :class:`serving.attacking.base.Attacker`.

    Args:
        url: TorchServe's inference address.
        otherwise: What carries out attacks on models that TorchServe has no workers for.
        workers: Attacks that are sent to TorchServe at the same time.
        queue: Attacks that may wait.
        request_id: Asked for the id of the request that is being answered, to pass on as ``X-Request-Id``.
    """

    def __init__(
        self,
        url: str,
        otherwise: Attacker,
        *,
        workers: int = 1,
        queue: int = 16,
        request_id: Callable[[], str] = lambda: "",
    ) -> None:
        self._otherwise = otherwise
        self._turns = Turns(workers, queue)
        self._speeds = Speeds(self._measure)
        self._request_id = request_id
        self._client = httpx.AsyncClient(base_url=url.rstrip("/"), trust_env=False)
        #: The digests of models that others attack.
        self._others: set[str] = set()

    @property
    def waiting(self) -> int:
        """Attacks that wait for their turn."""
        return self._turns.waiting + self._otherwise.waiting

    @property
    def running(self) -> int:
        """Attacks that are being carried out, for somebody or nobody."""
        return self._turns.running + self._otherwise.running

    async def close(self) -> None:
        """See :meth:`serving.attacking.base.Attacker.close`. What runs in TorchServe ends there by itself."""
        self._turns.close()
        self._speeds.close()
        self._turns.cancel()
        await self._turns.finished()
        await self._client.aclose()
        await self._otherwise.close()

    async def speed(self, bundle: Bundle, defence: Defence, *, deadline: float) -> Speed:
        """See :meth:`serving.attacking.base.Attacker.speed`."""
        if bundle.manifest.digest not in self._others:
            try:
                return await self._speeds.get(bundle, defence, deadline=deadline)
            except _NotServedError:
                logger.info(
                    "TorchServe has no workers that attack %s version %s: this server's own do",
                    bundle.name,
                    bundle.version,
                )
                self._others.add(bundle.manifest.digest)
        return await self._otherwise.speed(bundle, defence, deadline=deadline)

    async def attack(self, order: Order, *, deadline: float, watcher: Watcher | None = None) -> Carried:
        """See :meth:`serving.attacking.base.Attacker.attack`."""
        if order.bundle.manifest.digest in self._others:
            return await self._otherwise.attack(order, deadline=deadline, watcher=watcher)

        async def work(stop: asyncio.Event) -> Attacked:
            del stop  # TorchServe cannot be told
            left = deadline - time.monotonic()
            if left <= 0:
                raise _too_late([0, 0])
            asked = remote.RemoteOrder(
                attack=attack_of(order.parameters).name,
                parameters=order.parameters.model_dump(mode="json"),
                labels=None if order.labels is None else order.labels.tolist(),
                trace=order.trace,
                seconds=left,
            )
            return _read(await self._send(order.bundle, order.defence, order.images, asked), order.images)

        # TorchServe answers when it is done, and says nothing before.
        waits = None if watcher is None else watcher.waits
        turn = await self._turns.take(work, expected=order.expected, deadline=deadline, waits=waits)
        return Carried(turn.found, queue=turn.queue, seconds=turn.seconds)

    async def _measure(self, bundle: Bundle, defence: Defence) -> Speed:
        noise = np.random.default_rng(0).random((1, *bundle.manifest.input.shape), dtype=np.float32)

        async def work(stop: asyncio.Event) -> Speed:
            del stop
            content = await self._send(bundle, defence, noise, remote.RemoteOrder(seconds=_MEASURING))
            return remote.read_speed(content)

        turn = await self._turns.take(work, expected=1.0, deadline=time.monotonic() + _MEASURING)
        return turn.found

    async def _send(
        self, bundle: Bundle, defence: Defence, images: NDArray[np.float32], order: remote.RemoteOrder
    ) -> dict[str, Any]:
        """TorchServe's answer to an order.

        Raises:
            BackendError: There is none that can be used.
        """
        headers = {
            "Content-Type": npy.MEDIA_TYPE,
            "X-Holdfast-Defence": defence,
            remote.HEADER: order.model_dump_json(),
        }
        if request_id := self._request_id():
            headers["X-Request-Id"] = request_id
        path = f"/predictions/{bundle.name}{remote.SUFFIX}/{bundle.version}"
        timeout = httpx.Timeout(order.seconds + _MARGIN, connect=_CONNECT_TIMEOUT)
        try:
            response = await self._client.post(
                path, content=npy.encode(images), headers=headers, timeout=timeout
            )
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"TorchServe cannot be reached ({type(error).__name__}).",
                hint="Start it with: holdfast torchserve",
            ) from None
        if response.status_code == httpx.codes.NOT_FOUND:
            raise _NotServedError("TorchServe has no workers that attack this model.")
        if response.status_code != httpx.codes.OK:
            raise UnavailableError(f"TorchServe's worker failed (status {response.status_code}).")
        try:
            content: dict[str, Any] = json.loads(response.content)
            weights = content["weights"]
        except (ValueError, TypeError, KeyError):
            raise UnavailableError("TorchServe's answer is not one of Holdfast's handler.") from None
        if weights != bundle.manifest.files[WEIGHTS].sha256:
            raise UnavailableError(
                f"TorchServe attacks other weights as {bundle.name}/{bundle.version} than the store has."
            )
        return content


def _read(content: dict[str, Any], images: NDArray[np.float32]) -> Attacked:
    """What came of an attack, by TorchServe's answer."""
    if "stopped" in content:
        raise _too_late(content["stopped"])
    if "not_applicable" in content:
        raise NotApplicableError(f"The attack cannot be run on this model: {content['not_applicable']}.")
    try:
        attacked = remote.unpack(content["attacked"])
    except (KeyError, remote.RemoteAnswerError):
        raise UnavailableError("TorchServe's answer is not one of Holdfast's handler.") from None
    found = attacked.result.images
    if (
        found.shape != images.shape
        or found.dtype != np.float32
        or not (found.min() >= 0 and found.max() <= 1)
    ):
        raise InferenceError("TorchServe's answer holds no image.")
    return attacked


def _too_late(steps: list[int]) -> DeadlineExceededError:
    return DeadlineExceededError(
        f"The time for this request ran out during the attack, after {steps[0]:,} of {steps[1]:,} steps; it "
        "was stopped.",
        hint="Ask for fewer steps, or make it a job: POST /v1/jobs.",
    )
