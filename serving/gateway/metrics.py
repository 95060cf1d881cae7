"""What the gateway counts and measures, for Prometheus.

Names follow Prometheus's conventions: base units in the name, ``_total`` on what only grows. No label takes a
value that a caller can make up: a route is its template, a model one that is served.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from holdfast.bundle import Bundle
from holdfast.manifest import Defence
from holdfast.version import __version__
from serving.backends.load import Load
from serving.gateway.monitor.recent import AttackKey, ModelKey, Recent, is_counted, purpose_of
from serving.gateway.schemas import ImagePrediction

# The moment at which each series began is another series for each, which nobody here asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]

#: The media type of what :meth:`Metrics.render` gives.
MEDIA_TYPE = CONTENT_TYPE_LATEST

#: What a request can come in as; a method that a caller made up is ``other``.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

#: Seconds: from a small model's answer to the longest deadline that is usual.
_REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
#: Seconds: parts of a request begin below a millisecond.
_STAGE_BUCKETS = (0.0001, 0.00025, 0.0005, *_REQUEST_BUCKETS[:-1])
#: Seconds: an attack is some hundreds of predictions.
_ATTACK_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(slots=True)
class Subject:
    """What a request turned out to be about; its route fills it in when it knows.

    Attributes:
        model: A model that is served; empty where the request is about none.
        version: Its version.
        defence: The defence that it was asked with.
    """

    model: str = ""
    version: str = ""
    defence: str = ""


class Metrics:
    """One gateway's figures; each gateway has a registry of its own. Safe to call from any thread.

    Attributes:
        recent: The last minutes of them, for people.
    """

    def __init__(self) -> None:
        self.recent = Recent()
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        Info("holdfast_build", "The Holdfast that is running.", registry=registry).info(
            {"version": __version__}
        )
        of_model = ("model", "version", "defence")
        self._requests = Histogram(
            "holdfast_request_duration_seconds",
            "Time from a request's headers to the end of its answer.",
            ("route", "method", *of_model, "status"),
            buckets=_REQUEST_BUCKETS,
            registry=registry,
        )
        self._in_flight = Gauge(
            "holdfast_requests_in_flight", "Requests that are being answered.", registry=registry
        )
        self._stages = Histogram(
            "holdfast_stage_duration_seconds",
            "Time that the images of one request spent being decoded, waiting, and in the model.",
            ("stage", *of_model),
            buckets=_STAGE_BUCKETS,
            registry=registry,
        )
        self._images = Counter("holdfast_images", "Images classified.", of_model, registry=registry)
        self._batches = Histogram(
            "holdfast_batch_size_images",
            "Images that ran through a model together, for each run of it.",
            of_model,
            buckets=_BATCH_BUCKETS,
            registry=registry,
        )
        self._verdicts = Counter(
            "holdfast_manifold_verdicts",
            "Images classified, by what the model's manifold evidence said of them.",
            (*of_model, "verdict"),
            registry=registry,
        )
        self._ready = Gauge(
            "holdfast_ready", "Whether the gateway takes traffic: 1 if it does.", registry=registry
        )
        self._backend_up = Gauge(
            "holdfast_backend_up",
            "Whether what runs the models answers: 1 if it does.",
            ("backend",),
            registry=registry,
        )
        self._waiting = Gauge(
            "holdfast_queue_images",
            "Images that wait for a model, or requests for a backend.",
            registry=registry,
        )
        self._capacity = Gauge(
            "holdfast_queue_limit_images", "How many may wait before more are refused.", registry=registry
        )
        self._running = Gauge(
            "holdfast_running_images", "Images that a model is busy with.", registry=registry
        )
        self._attacks = Counter(
            "holdfast_attacks",
            "Images attacked, by whether the model was fooled.",
            ("model", "version", "attack", "defence", "outcome"),
            registry=registry,
        )
        self._attack_seconds = Histogram(
            "holdfast_attack_duration_seconds",
            "Time that an attack on demand took.",
            ("model", "version", "attack", "defence"),
            buckets=_ATTACK_BUCKETS,
            registry=registry,
        )
        self._attacks_waiting = Gauge(
            "holdfast_attacks_waiting", "Attacks on demand that wait for their turn.", registry=registry
        )
        self._attacks_running = Gauge(
            "holdfast_attacks_running",
            "Attacks on demand that are being carried out, those included that nobody waits for any more.",
            registry=registry,
        )
        self._jobs = Gauge("holdfast_jobs", "Jobs by their state.", ("state",), registry=registry)
        self._limited = Counter(
            "holdfast_rate_limited_requests",
            "Requests refused because their caller asks too often.",
            ("policy",),
            registry=registry,
        )
        self._refused = Counter(
            "holdfast_auth_failures",
            "Requests refused for want of a valid key with the right scope.",
            ("reason",),
            registry=registry,
        )
        self._broken = Counter(
            "holdfast_refused_connections",
            "Connections closed before they had sent a whole request that is acceptable.",
            ("problem",),
            registry=registry,
        )

    def begin_request(self, path: str) -> None:
        """Count a request that has come to this address."""
        self._in_flight.inc()
        if is_counted(path):
            self.recent.begin_request()

    def end_request(
        self, path: str, route: str, method: str, subject: Subject, status: int, seconds: float
    ) -> None:
        """Count a request that is over.

        Args:
            path: Its address.
            route: The template of its address, e.g. ``/v1/models/{model}``; empty where there is none.
            method: Its method.
            subject: What it was about.
            status: The status of its answer.
            seconds: From its headers to the end of its answer.
        """
        self._in_flight.dec()
        known = method if method in _METHODS else "other"
        labels = (route, known, subject.model, subject.version, subject.defence, str(status))
        self._requests.labels(*labels).observe(seconds)
        if is_counted(path):
            about = ModelKey(subject.model, subject.version, subject.defence)
            self.recent.end_request(purpose_of(route), about, status, seconds)

    def observe_decoding(self, model: str, version: str, defence: str, seconds: float) -> None:
        """Note how long a request's images took to be decoded."""
        self._stages.labels("decode", model, version, defence).observe(seconds)

    def observe_prediction(
        self, model: str, version: str, defence: str, queue: float, inference: float, images: int
    ) -> None:
        """Note how long a request's images waited and ran, in seconds, and count them."""
        self._stages.labels("queue", model, version, defence).observe(queue)
        self._stages.labels("inference", model, version, defence).observe(inference)
        self._images.labels(model, version, defence).inc(images)
        self.recent.count_images(ModelKey(model, version, defence), images)

    def observe_batch(self, model: str, version: str, defence: str, images: int) -> None:
        """Note that so many images ran through a model together."""
        self._batches.labels(model, version, defence).observe(images)
        self.recent.count_batch(ModelKey(model, version, defence), images)

    def count_verdicts(
        self, bundle: Bundle, defence: Defence, predictions: Iterable[ImagePrediction]
    ) -> None:
        """Count what was said of each image; nothing where the model gives no evidence."""
        for prediction in predictions:
            if prediction.manifold is not None:
                labels = (bundle.name, bundle.version, defence, prediction.manifold.verdict)
                self._verdicts.labels(*labels).inc()
                self.recent.count_verdict(
                    ModelKey(bundle.name, bundle.version, defence), prediction.manifold.verdict
                )

    def count_attack(
        self, model: str, version: str, attack: str, defence: str, success: bool, seconds: float
    ) -> None:
        """Count an image that was attacked.

        Args:
            model: A model that is served.
            version: Its version.
            attack: The attack's name in the catalogue.
            defence: The defence under attack.
            success: Whether the model was fooled.
            seconds: What the attack on this image took.
        """
        outcome = "success" if success else "failure"
        self._attacks.labels(model, version, attack, defence, outcome).inc()
        self._attack_seconds.labels(model, version, attack, defence).observe(seconds)
        self.recent.count_attack(AttackKey(model, version, defence, attack), success, seconds)

    def set_attacks(self, *, waiting: int, running: int) -> None:
        """Say how many attacks on demand there are at this moment."""
        self._attacks_waiting.set(waiting)
        self._attacks_running.set(running)

    def set_jobs(self, state: str, jobs: int) -> None:
        """Say how many jobs are in a state, e.g. ``queued``."""
        self._jobs.labels(state).set(jobs)

    def count_rate_limited(self, policy: str) -> None:
        """Count a request that was refused under a rate limit's policy."""
        self._limited.labels(policy).inc()

    def count_auth_failure(self, reason: str) -> None:
        """Count a request that was refused for want of a key, by the reason that the caller is not told."""
        self._refused.labels(reason).inc()

    def count_refused_connection(self, problem: str) -> None:
        """Count a connection that was closed for what came over it."""
        self._broken.labels(problem).inc()

    def set_backend(self, name: str, *, ready: bool, up: bool, load: Load | None) -> None:
        """Say how the gateway and its backend are at this moment."""
        self._ready.set(ready)
        self._backend_up.labels(name).set(up)
        if load is not None:
            self._waiting.set(load.waiting)
            self._running.set(load.running)
            self._capacity.set(load.limit)

    def render(self) -> bytes:
        """All figures, in Prometheus's text format."""
        return generate_latest(self._registry)
