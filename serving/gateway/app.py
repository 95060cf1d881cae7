"""The gateway as an ASGI application."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response

from holdfast.bundle import ModelStore
from holdfast.images import ImageLimits
from serving import tracing
from serving.backends.base import Backend
from serving.backends.cores import count_cores
from serving.backends.load import Loaded
from serving.gateway import openapi, problems
from serving.gateway.access import routes_of, templates_of
from serving.gateway.access_log import CLIENT_GONE, AccessLogMiddleware
from serving.gateway.admission import Admission
from serving.gateway.attack.describing import FACTS
from serving.gateway.attack.service import AttackService
from serving.gateway.backend import make_attacker, make_backend
from serving.gateway.body import ClientGoneError
from serving.gateway.classification import Classifier
from serving.gateway.cors import allow_origins
from serving.gateway.decoding import Decoder
from serving.gateway.gate import Gate
from serving.gateway.guard import GuardMiddleware
from serving.gateway.jobs.service import JobService
from serving.gateway.lifecycle import Lifecycle
from serving.gateway.local_callers import LocalCallers
from serving.gateway.metrics import Metrics
from serving.gateway.observing import MetricsMiddleware
from serving.gateway.oip import routes as oip
from serving.gateway.rate_limit import RateLimitHeadersMiddleware
from serving.gateway.request_id import RequestIdMiddleware
from serving.gateway.routes import (
    admin,
    attack,
    attacks,
    classify,
    health,
    jobs,
    models,
    monitor,
    pages,
    playground,
)
from serving.gateway.routes import metrics as metrics_route
from serving.gateway.services import Services
from serving.keys.keyring import Keyring
from serving.keys.store import KeyStore
from serving.playground.assets import Assets, LooseAssets, PackedAssets
from serving.settings import Settings, load_settings

#: Where every route of the gateway is from.
ROUTERS = tuple(
    module.router
    for module in (
        classify,
        attack,
        attacks,
        jobs,
        models,
        oip,
        health,
        metrics_route,
        monitor,
        admin,
        pages,
        playground,
    )
)


def create_app(settings: Settings | None = None, *, backend: Backend | None = None) -> FastAPI:
    """Make a gateway.

    The application starts to load the models when its lifespan begins, and answers ``/readyz`` with 503 until
    they are warm. ``app.state.services`` has its parts.

    Args:
        settings: How it is set up; read from the environment if ``None``.
        backend: What runs the models; made as the settings say if ``None``.

    Raises:
        UsageError: A setting in the environment cannot be used.
    """
    settings = settings or load_settings()
    metrics = Metrics()
    backend = backend or make_backend(settings, metrics)
    if isinstance(backend, Loaded):
        queue = backend.load
        metrics.recent.watch(lambda: queue().waiting)
    attacker = make_attacker(settings)
    decoder = Decoder(
        ImageLimits(max_bytes=settings.max_image_bytes, max_pixels=settings.max_pixels), threads=count_cores()
    )
    lifecycle = Lifecycle(backend, ModelStore(settings.model_store), settings.default_model)
    gate = make_gate(settings, metrics)
    templates = templates_of(ROUTERS)
    jobs_service = JobService(settings, lifecycle, metrics)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        lifecycle.start()
        jobs_service.start()
        try:
            yield
        finally:
            await jobs_service.close()
            await attacker.close()
            await lifecycle.stop()
            decoder.close()
            gate.close()
            await asyncio.to_thread(tracing.stop)

    app = FastAPI(
        title=openapi.TITLE,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=openapi.operation_id,
    )
    app.state.services = Services(
        settings=settings,
        lifecycle=lifecycle,
        admission=Admission(max_requests=settings.max_requests, max_bytes=settings.max_memory),
        decoder=decoder,
        classifier=Classifier(backend, decoder, metrics),
        metrics=metrics,
        gate=gate,
        templates=templates,
        attacks=AttackService(attacker, backend, decoder, metrics, budget=settings.attack_budget),
        jobs=jobs_service,
        playground=read_playground(settings),
    )
    for router in ROUTERS:
        list(routes_of(router))  # none that is not guarded
        app.include_router(router)
    problems.install(app)
    openapi.install(app, ROUTERS)
    app.add_exception_handler(ClientGoneError, _answer_nobody)
    # The last one added is the first to see a request.
    app.add_middleware(GuardMiddleware)
    app.add_middleware(RateLimitHeadersMiddleware)
    allow_origins(app, settings.cors_origins, tuple(FACTS))
    app.add_middleware(MetricsMiddleware, metrics=metrics, templates=templates)
    app.add_middleware(AccessLogMiddleware)
    if tracing.start():
        app.add_middleware(tracing.wrap)
    app.add_middleware(RequestIdMiddleware)
    return app


def make_gate(settings: Settings, metrics: Metrics) -> Gate:
    """The gate that the settings ask for.

    Raises:
        KeyFileError: The file of keys cannot be used.
    """
    keyring = None if settings.keys_file is None else Keyring(KeyStore(settings.keys_file))
    return Gate(
        keyring,
        metrics,
        rate=settings.rate_limit,
        anonymous_rate=settings.rate_limit_anonymous,
        metrics_open=settings.metrics_open,
        # In a container it listens to all, though it may be published on loopback alone: there, names tell.
        local=None
        if settings.allow_unauthenticated and not settings.allowed_hosts
        else LocalCallers(settings.allowed_hosts, settings.cors_origins),
    )


def read_playground(settings: Settings) -> Assets | None:
    """The playground's files, if there is to be one.

    Raises:
        UsageError: The folder that the settings name is none of a playground.
    """
    if not settings.playground:
        return None
    if settings.playground_dir is not None:
        return LooseAssets(settings.playground_dir)
    return PackedAssets()


async def _answer_nobody(_request: Request, _error: Exception) -> Response:
    """The caller has gone; the status is for the log."""
    return Response(status_code=CLIENT_GONE)
