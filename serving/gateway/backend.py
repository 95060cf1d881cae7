"""Making the backend that the settings name. Only that one's dependencies are imported."""

from __future__ import annotations

from holdfast.bundle import ModelStore
from serving.attacking.base import Attacker
from serving.backends.base import Backend
from serving.gateway.metrics import Metrics
from serving.gateway.request_id import current_request_id, forwarded_headers
from serving.settings import Settings


def make_backend(settings: Settings, metrics: Metrics) -> Backend:
    """The backend that ``settings.backend`` names, not started yet; it tells ``metrics`` of its batches."""
    store = ModelStore(settings.model_store)
    # Where a server hangs, callers are to hear of it within their deadline.
    patience = min(settings.backend_patience, settings.deadline / 2)
    if settings.backend == "torchserve":
        from serving.backends.torchserve import TorchServeBackend

        return TorchServeBackend(
            store,
            settings.torchserve_url,
            timeout=settings.deadline,
            patience=patience,
            start_timeout=settings.backend_start_timeout,
            headers=forwarded_headers,
        )
    if settings.backend == "oip":
        from serving.backends.oip import OipBackend
        from serving.backends.oip_plan import parse_models

        return OipBackend(
            store,
            settings.oip_url,
            models=parse_models(settings.oip_models),
            max_images=settings.oip_max_images,
            key="" if settings.oip_key is None else settings.oip_key.get_secret_value(),
            timeout=settings.deadline,
            patience=patience,
            start_timeout=settings.backend_start_timeout,
            headers=forwarded_headers,
        )
    from serving.backends.onnx import OnnxBackend

    return OnnxBackend(
        store,
        max_batch=settings.max_batch,
        max_delay=settings.max_delay,
        queue=settings.queue,
        threads=settings.threads,
        on_batch=metrics.observe_batch,
    )


def make_attacker(settings: Settings) -> Attacker:
    """What carries out attacks on the models of the backend that the settings name."""
    from serving.attacking.pool import AttackPool
    from serving.attacking.process import WorkerSettings

    pool = AttackPool(
        workers=settings.attack_workers,
        settings=WorkerSettings(
            threads=settings.attack_threads,
            niceness=settings.attack_niceness,
            models=settings.attack_models,
        ),
        queue=settings.attack_queue,
        grace=settings.attack_grace,
    )
    if settings.backend != "torchserve":
        return pool
    from serving.attacking.torchserve import TorchServeAttacker

    return TorchServeAttacker(
        settings.torchserve_url,
        pool,
        workers=settings.attack_workers or 1,
        queue=settings.attack_queue,
        request_id=current_request_id.get,
    )
