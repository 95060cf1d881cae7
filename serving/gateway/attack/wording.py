"""From what came of an attack to the words and pictures of its answer."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from holdfast import npy
from holdfast.attacking.cost import CostEstimate
from holdfast.attacking.gathering import Gathering
from holdfast.attacking.parameters import Chosen
from holdfast.attacking.record import ImageResult
from holdfast.attacking.tracing import Iterate, Trace
from holdfast.attacks.ball import l2_norm, linf_norm
from holdfast.bundle import Bundle
from holdfast.images import encode_png
from holdfast.manifest import Defence, Manifest
from holdfast.pictures import perturbation_picture
from holdfast.probabilities import probabilities
from serving.attacking.base import Carried
from serving.backends.base import Prediction
from serving.gateway.attack.schemas import (
    AppliedAttack,
    AttackAnswer,
    AttackCost,
    AttackCounts,
    AttackTimings,
    AttackTrace,
    DefencePredictions,
    ExactImage,
    PerturbationImage,
    Picture,
    TraceStep,
)
from serving.gateway.classification import word


@dataclass(frozen=True)
class Finding:
    """All that is known of an attack on one image when it is over.

    Attributes:
        bundle: The model.
        defence: The one under attack.
        chosen: The attack.
        labelled: Whether the caller said what the image is of.
        original: float32 (1, channels, height, width), the image as it came.
        carried: What the attacker brought.
        predictions: By defence, of the image, the result, and the result in 8 bits.
        estimate: What it was reckoned to cost.
        decoding: Seconds that decoding took.
        predicting: Seconds that the predictions took.
    """

    bundle: Bundle
    defence: Defence
    chosen: Chosen
    labelled: bool
    original: NDArray[np.float32]
    carried: Carried
    predictions: Mapping[Defence, Prediction]
    estimate: CostEstimate
    decoding: float
    predicting: float

    @cached_property
    def png(self) -> bytes:
        """The result in 8 bits."""
        return encode_png(self.carried.attacked.result.images[0])

    @property
    def result(self) -> ImageResult:
        """What the record of ``holdfast attack`` would say of the image."""
        return self.gathered().results[0]

    def gathered(self) -> Gathering:
        """The attack, as the command line gathers it."""
        gathering = Gathering(self.chosen, self.bundle.manifest)
        attacked = self.carried.attacked
        gathering.add(["image"], attacked.labels, self.original, attacked.result, [None])
        return gathering


def in_8_bits(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """Images as a PNG stores them, and as it is decoded again."""
    stored = np.rint(np.clip(images, 0, 1) * np.float32(255)).astype(np.uint8)
    decoded: NDArray[np.float32] = stored.astype(np.float32) / 255
    return decoded


def answer(
    finding: Finding, *, top_k: int, exact: bool, timings: AttackTimings, request_id: str
) -> AttackAnswer:
    """The whole answer in JSON."""
    gathered = finding.gathered()
    record = gathered.record("option" if finding.labelled else "model")
    found = gathered.results[0]
    result = finding.carried.attacked.result
    manifest = finding.bundle.manifest
    trace = finding.carried.attacked.trace
    target = None if result.targets is None else int(result.targets[0])
    return AttackAnswer.model_validate(
        {
            "model": finding.bundle.name,
            "version": finding.bundle.version,
            "defence": finding.defence,
            "attack": AppliedAttack(
                name=record.attack,
                access=record.access,
                minimises=record.minimises,
                parameters=record.parameters,
                budget=record.budget,
            ),
            "label": found.label,
            "class_index": found.class_index,
            "label_from": "request" if finding.labelled else "model",
            "target": found.target,
            "outcome": found.outcome,
            "success": found.success,
            "survives_rounding": found.survives_rounding,
            "reached": found.reached,
            "reached_in_8_bits": found.reached_in_8_bits,
            "predictions": {
                defence: _predictions(prediction, manifest, top_k, found.class_index, target)
                for defence, prediction in finding.predictions.items()
            },
            "counts": AttackCounts(
                forwards=result.forwards, backwards=result.backwards, queries=found.queries
            ),
            "cost": cost(finding.estimate, images=1),
            "flags": record.flags,
            "original": Picture(**_picture(encode_png(finding.original[0]), manifest)),
            "adversarial": Picture(**_picture(finding.png, manifest)),
            "perturbation": _perturbation(finding),
            "float": _exact(result.images) if exact else None,
            "trace": None if trace is None else _trace(trace, finding, found.class_index),
            "timings": timings,
            "request_id": request_id,
        }
    )


def headers(finding: Finding) -> dict[str, str]:
    """The facts for an answer that is the PNG itself; names are percent-encoded where they are not ASCII."""
    found = finding.result
    prediction = finding.predictions[finding.defence]
    before, _, after = word(prediction, finding.bundle.manifest, 1)
    attacked = finding.carried.attacked
    budget = finding.chosen.parameters.budget
    facts = {
        "Model": f"{finding.bundle.name}/{finding.bundle.version}",
        "Attack": finding.chosen.attack.name,
        "Defence": finding.defence,
        "Outcome": found.outcome,
        "Success": _flag(found.success),
        "Survives-Rounding": _flag(found.survives_rounding),
        "Label": found.label,
        "Label-From": "request" if finding.labelled else "model",
        "Target": found.target,
        "Before": before.label,
        "Before-Probability": f"{before.probability:.6f}",
        "After": after.label,
        "After-Probability": f"{after.probability:.6f}",
        "Budget": None if budget is None else f"{budget[0]} {budget[1]:.6f}",
        "Linf": f"{found.reached_in_8_bits.linf:.6f}",
        "L2": f"{found.reached_in_8_bits.l2:.6f}",
        "Queries": str(found.queries),
        "Forwards": str(attacked.result.forwards),
        "Backwards": str(attacked.result.backwards),
        "Flags": ", ".join(flag.name for flag in attacked.result.flags) or None,
    }
    return {
        f"Holdfast-{name}": quote(value, safe=" !#$&'()*+,/:;=?@[]<>|^`{}\"\\")
        for name, value in facts.items()
        if value is not None
    }


def cost(estimate: CostEstimate, *, images: int) -> AttackCost:
    """An estimate, for a caller."""
    return AttackCost(
        gradients=estimate.backwards * images,
        forwards=estimate.forwards_in_all,
        images=images,
        seconds=_rounded(estimate.seconds),
        seconds_per_forward=_rounded(estimate.seconds_per_forward),
        seconds_per_gradient=_rounded(estimate.seconds_per_gradient),
    )


def _rounded(seconds: float) -> float:
    """Three digits: a measurement of time has no more."""
    return float(f"{seconds:.3g}")


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _predictions(
    prediction: Prediction, manifest: Manifest, top_k: int, label: int, target: int | None
) -> DefencePredictions:
    before, after, stored = word(prediction, manifest, top_k)
    says = stored.class_index
    return DefencePredictions(
        before=before,
        after=after,
        after_in_8_bits=stored,
        fooled=says != label if target is None else says == target != label,
    )


def _picture(png: bytes, manifest: Manifest) -> dict[str, int | str]:
    size = manifest.input
    return {"width": size.width, "height": size.height, "base64": base64.b64encode(png).decode()}


def _perturbation(finding: Finding) -> PerturbationImage:
    """What was changed; an L∞ budget fills the range, so that pictures of one budget compare."""
    budget = finding.chosen.parameters.budget
    extent = budget[1] if budget is not None and budget[0] == "linf" else None
    adversarial = finding.carried.attacked.result.images
    picture = perturbation_picture(finding.original[0], adversarial[0], extent)
    return PerturbationImage.model_validate(
        {**_picture(picture.png(), finding.bundle.manifest), "scale": round(picture.scale, 6)}
    )


def _exact(images: NDArray[np.float32]) -> ExactImage:
    return ExactImage(shape=list(images.shape), base64=base64.b64encode(npy.encode(images)).decode())


def _trace(trace: Trace, finding: Finding, label: int) -> AttackTrace:
    return AttackTrace(
        queries=trace.queries,
        every=trace.every,
        steps=[_step(iterate, finding, label) for iterate in trace.iterates],
    )


def _step(iterate: Iterate, finding: Finding, label: int) -> TraceStep:
    manifest = finding.bundle.manifest
    temperature = 1.0 if manifest.calibration is None else manifest.calibration.temperature
    chances = probabilities(iterate.logits, temperature)
    best = int(chances.argmax())
    difference = iterate.image[np.newaxis] - finding.original
    finite = iterate.loss is not None and np.isfinite(iterate.loss)
    return TraceStep(
        query=iterate.query,
        label=manifest.classes[best],
        class_index=best,
        probability=round(float(chances[best]), 6),
        probability_of_label=round(float(chances[label]), 6),
        probabilities=[round(float(chance), 6) for chance in chances],
        loss=iterate.loss if finite else None,
        linf=float(linf_norm(difference)[0]),
        l2=float(l2_norm(difference)[0]),
        png=base64.b64encode(encode_png(iterate.image)).decode(),
    )
