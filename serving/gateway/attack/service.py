"""Carrying out one request for an attack: the function behind every front end of it."""

from __future__ import annotations

import asyncio
import time

import numpy as np
from numpy.typing import NDArray

from holdfast.attacking.cost import CostEstimate, reckon
from holdfast.attacking.parameters import Chosen
from holdfast.bundle import Bundle
from holdfast.manifest import Defence
from serving.attacking.base import Attacker, Order, Watcher
from serving.backends.base import Backend, DeadlineExceededError, Prediction
from serving.gateway.attack.parameters import choose_attack, choose_label
from serving.gateway.attack.request import AttackRequest
from serving.gateway.attack.schemas import AttackAnswer, AttackTimings
from serving.gateway.attack.wording import Finding, answer, cost, headers, in_8_bits
from serving.gateway.classification import choose_defence
from serving.gateway.decoding import Decoder
from serving.gateway.metrics import Metrics
from serving.gateway.problem_kinds import ATTACK_TOO_COSTLY
from serving.gateway.problems import Problem


class AttackService:
    """Decodes an image, reckons the cost, has the attack carried out, and asks every defence of the result.

    Args:
        attacker: What carries out attacks.
        backend: What the predictions before and after are asked of.
        decoder: What decodes the images.
        metrics: Where attacks are counted.
        budget: The most seconds that an attack may cost, as it is reckoned before it begins.
    """

    def __init__(
        self, attacker: Attacker, backend: Backend, decoder: Decoder, metrics: Metrics, *, budget: float
    ) -> None:
        self.attacker = attacker
        self._backend = backend
        self._decoder = decoder
        self._metrics = metrics
        self._budget = budget

    async def attack(
        self,
        bundle: Bundle,
        request: AttackRequest,
        *,
        started: float,
        deadline: float,
        request_id: str,
        watcher: Watcher | None = None,
    ) -> AttackAnswer:
        """Attack an image, and answer all that is known of it.

        Args:
            bundle: The model.
            request: What is asked for.
            started: When the request began, on the clock of ``time.monotonic()``.
            deadline: When the answer is of no more use, on the same clock.
            request_id: The request's id.
            watcher: Who is told how the attack is meanwhile.

        Raises:
            ImageError, Problem: The request cannot be carried out; the attack would cost too much.
            BackendError: There is no answer.
        """
        finding = await self._find(bundle, request, deadline, watcher)
        timings = AttackTimings(
            decode_ms=_milliseconds(finding.decoding),
            queue_ms=_milliseconds(finding.carried.queue),
            attack_ms=_milliseconds(finding.carried.seconds),
            predict_ms=_milliseconds(finding.predicting),
            total_ms=_milliseconds(time.monotonic() - started),
        )
        options = request.options
        # Pictures are not drawn on the event loop, where others wait for their classification.
        return await asyncio.to_thread(
            answer,
            finding,
            top_k=options.top_k,
            exact=options.exact,
            timings=timings,
            request_id=request_id,
        )

    async def attack_for_png(
        self, bundle: Bundle, request: AttackRequest, *, deadline: float
    ) -> tuple[bytes, dict[str, str]]:
        """The same; the adversarial image as a PNG, and headers with the facts. Raises as :meth:`attack`."""
        finding = await self._find(bundle, request, deadline)
        png = await asyncio.to_thread(lambda: finding.png)
        return png, headers(finding)

    async def _find(
        self, bundle: Bundle, request: AttackRequest, deadline: float, watcher: Watcher | None = None
    ) -> Finding:
        defence = choose_defence(bundle, request.options.defence)
        chosen = choose_attack(request, bundle.manifest)
        label = choose_label(request, bundle.manifest)
        decoding = time.monotonic()
        original = await self._decoder.decode([request.image], bundle.manifest.input, deadline=deadline)
        decoded = time.monotonic()
        if decoded > deadline:
            raise DeadlineExceededError("The time for this request ran out before the attack could begin.")
        estimate = await self._afford(bundle, defence, chosen, deadline)
        order = Order(
            bundle,
            defence,
            chosen.parameters,
            original,
            labels=None if label is None else np.array([label], dtype=np.int64),
            trace=request.options.trace,
            expected=estimate.seconds,
        )
        carried = await self.attacker.attack(order, deadline=deadline, watcher=watcher)
        result = carried.attacked.result
        self._metrics.count_attack(
            bundle.name,
            bundle.version,
            chosen.attack.name,
            defence,
            bool(result.success[0]),
            carried.seconds,
        )
        predicting = time.monotonic()
        predictions = await self._predict(bundle, original, result.images, deadline)
        return Finding(
            bundle=bundle,
            defence=defence,
            chosen=chosen,
            labelled=label is not None,
            original=original,
            carried=carried,
            predictions=predictions,
            estimate=estimate,
            decoding=decoded - decoding,
            predicting=time.monotonic() - predicting,
        )

    async def _afford(
        self, bundle: Bundle, defence: Defence, chosen: Chosen, deadline: float
    ) -> CostEstimate:
        """What the attack will cost at most.

        Raises:
            Problem: It is more than may be spent.
        """
        speed = await self.attacker.speed(bundle, defence, deadline=deadline)
        estimate = reckon(speed, len(bundle.manifest.classes), 1, chosen)
        if estimate.seconds <= self._budget:
            return estimate
        spent = cost(estimate, images=1)
        raise Problem(
            ATTACK_TOO_COSTLY,
            f"{chosen.attack.name} on one image may take {spent.gradients:,} gradient evaluations and "
            f"{spent.forwards:,} forward passes, {estimate.seconds:,.3g} s by the model's measured speed; "
            f"the limit here is {self._budget:g} s. {ATTACK_TOO_COSTLY.advice}",
            members={"cost": spent.model_dump(), "limit": self._budget},
        )

    async def _predict(
        self,
        bundle: Bundle,
        original: NDArray[np.float32],
        adversarial: NDArray[np.float32],
        deadline: float,
    ) -> dict[Defence, Prediction]:
        """What the model says of the image, the result, and the result in 8 bits, behind each defence."""
        images = np.concatenate([original, adversarial, in_8_bits(adversarial)])
        offered = bundle.manifest.defences
        found = await asyncio.gather(
            *(
                self._backend.predict(bundle.name, bundle.version, images, defence=defence, deadline=deadline)
                for defence in offered
            )
        )
        return dict(zip(offered, found, strict=True))


def _milliseconds(seconds: float) -> float:
    return round(max(0.0, seconds) * 1000, 3)
