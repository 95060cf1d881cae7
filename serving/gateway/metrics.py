"""What the gateway counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from holdfast.bundle import Bundle
from holdfast.manifest import Defence
from serving.gateway.schemas import ImagePrediction

#: The media type of what :meth:`Metrics.render` gives.
MEDIA_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """One gateway's counters; each gateway has a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._verdicts = Counter(
            "holdfast_manifold_verdicts",
            "Images classified, by what the model's manifold evidence said of them.",
            ("model", "version", "defence", "verdict"),
            registry=self._registry,
        )

    def count_verdicts(
        self, bundle: Bundle, defence: Defence, predictions: Iterable[ImagePrediction]
    ) -> None:
        """Count what was said of each image; nothing where the model gives no evidence."""
        for prediction in predictions:
            if prediction.manifold is not None:
                labels = (bundle.name, bundle.version, defence, prediction.manifold.verdict)
                self._verdicts.labels(*labels).inc()

    def render(self) -> bytes:
        """All counters, in Prometheus's text format."""
        return generate_latest(self._registry)
