"""Classifying the images of one request: the function behind every front end of it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle import Bundle
from holdfast.manifest import Defence, Manifest
from holdfast.probabilities import probabilities
from serving import tracing
from serving.backends.base import Backend, DeadlineExceededError, Prediction
from serving.gateway.decoding import Decoder
from serving.gateway.metrics import Metrics
from serving.gateway.problem_kinds import DEFENCE_NOT_OFFERED
from serving.gateway.problems import Problem
from serving.gateway.schemas import (
    Classification,
    ClassProbability,
    ImagePrediction,
    ManifoldEvidence,
    RequestTimings,
)
from serving.gateway.uploads import Encoded


class Classifier:
    """Decodes images, has the backend run the model, and words its answer.

    Args:
        backend: What runs the model.
        decoder: What decodes the images.
        metrics: Where verdicts are counted.
    """

    def __init__(self, backend: Backend, decoder: Decoder, metrics: Metrics) -> None:
        self._backend = backend
        self._decoder = decoder
        self._metrics = metrics

    async def classify(
        self,
        bundle: Bundle,
        images: Sequence[Encoded],
        *,
        defence: Defence,
        top_k: int,
        started: float,
        deadline: float,
        request_id: str,
    ) -> Classification:
        """Classify images.

        Args:
            bundle: The model.
            images: The encoded images, at least one.
            defence: A defence that the bundle offers.
            top_k: How many classes to list, at least one.
            started: When the request began, on the clock of ``time.monotonic()``.
            deadline: When the answer is of no more use, on the same clock.
            request_id: The request's id.

        Raises:
            ImageError, Problem: An image cannot be used.
            BackendError: There is no answer.
        """
        decoding = time.monotonic()
        with tracing.span("decode", images=len(images)):
            pixels = await self._decoder.decode(images, bundle.manifest.input, deadline=deadline)
        decoded = time.monotonic()
        self._metrics.observe_decoding(bundle.name, bundle.version, defence, decoded - decoding)
        if decoded > deadline:
            raise DeadlineExceededError("The time for this request ran out before the model could begin.")
        prediction, predictions = await self.predict(
            bundle, pixels, defence=defence, top_k=top_k, deadline=deadline
        )
        timings = RequestTimings(
            decode_ms=_milliseconds(decoded - decoding),
            queue_ms=_milliseconds(prediction.timings.queue),
            inference_ms=_milliseconds(prediction.timings.inference),
            total_ms=_milliseconds(time.monotonic() - started),
        )
        return Classification(
            model=bundle.name,
            version=bundle.version,
            defence=defence,
            predictions=predictions,
            timings=timings,
            request_id=request_id,
        )

    async def predict(
        self, bundle: Bundle, pixels: NDArray[np.float32], *, defence: Defence, top_k: int, deadline: float
    ) -> tuple[Prediction, list[ImagePrediction]]:
        """Classify images that are decoded already.

        Args:
            bundle: The model.
            pixels: float32 (n, channels, height, width) in [0, 1].
            defence: A defence that the bundle offers.
            top_k: How many classes to list, at least one.
            deadline: When the answer is of no more use, on the clock of ``time.monotonic()``.

        Returns:
            The backend's answer, and it in words.

        Raises:
            BackendError: There is no answer.
        """
        asked = time.monotonic()
        images = len(pixels)
        with tracing.span(
            "predict", model=bundle.name, version=bundle.version, defence=defence, images=images
        ):
            prediction = await self._backend.predict(
                bundle.name, bundle.version, pixels, defence=defence, deadline=deadline
            )
            timings = prediction.timings
            tracing.past("queue", asked, timings.queue)
            tracing.past("inference", asked + timings.queue, timings.inference, batch=timings.batch_size)
        predictions = word(prediction, bundle.manifest, top_k)
        labels = (bundle.name, bundle.version, defence)
        self._metrics.observe_prediction(*labels, timings.queue, timings.inference, images)
        self._metrics.count_verdicts(bundle, defence, predictions)
        return prediction, predictions


def choose_defence(bundle: Bundle, asked: str) -> Defence:
    """The defence that was asked for; ``default`` is the first that the model offers.

    Raises:
        Problem: The model does not offer it.
    """
    # In an address a bare + is a space, so `?defence=imt+` arrives as "imt ".
    asked = asked.replace(" ", "+")
    offered = bundle.manifest.defences
    if asked == "default":
        return offered[0]
    if asked not in offered:
        raise Problem(
            DEFENCE_NOT_OFFERED,
            f"Model '{bundle.name}' version {bundle.version} does not offer the defence '{asked[:40]}'. "
            f"It offers: {', '.join(offered)}.",
            members={"offered": list(offered)},
        )
    return asked


def word(prediction: Prediction, manifest: Manifest, top_k: int) -> list[ImagePrediction]:
    """What a prediction says about each of its images.

    Args:
        prediction: The backend's answer for n images.
        manifest: Of the model that answered.
        top_k: How many classes to list at most.
    """
    temperature = 1.0 if manifest.calibration is None else manifest.calibration.temperature
    chances = probabilities(prediction.logits, temperature)
    ranking = np.argsort(-chances, axis=1, kind="stable")[:, :top_k]
    rows, ranked = chances.round(6).tolist(), ranking.tolist()
    evidence = [_word_evidence(prediction, manifest, image) for image in range(len(rows))]
    return [
        _word_one(row, best, manifest.classes, seen)
        for row, best, seen in zip(rows, ranked, evidence, strict=True)
    ]


def _word_one(
    row: list[float], ranked: list[int], classes: Sequence[str], evidence: ManifoldEvidence | None
) -> ImagePrediction:
    best = [
        ClassProbability(label=classes[index], class_index=index, probability=row[index]) for index in ranked
    ]
    return ImagePrediction(
        label=best[0].label,
        class_index=best[0].class_index,
        probability=best[0].probability,
        top_k=best,
        probabilities=dict(zip(classes, row, strict=True)),
        manifold=evidence,
    )


def _word_evidence(prediction: Prediction, manifest: Manifest, image: int) -> ManifoldEvidence | None:
    manifold = manifest.manifold
    if manifold is None or prediction.manifold is None:
        return None
    score = float(prediction.manifold[image])
    return ManifoldEvidence(
        score=round(score, 6),
        evidence=manifold.evidence,
        verdict=manifold.verdict(score),
        moved=None if prediction.moved is None else round(float(prediction.moved[image]), 6),
    )


def _milliseconds(seconds: float) -> float:
    return round(max(0.0, seconds) * 1000, 3)
