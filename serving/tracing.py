"""Traces by OpenTelemetry, where ``OTEL_EXPORTER_OTLP_ENDPOINT`` says where to send them; else nothing.

Nothing of OpenTelemetry's SDK is imported unless it is to be used, and a span that nobody wants costs a
comparison. The SDK reads its own variables: the service's name, the sampler, the exporter's headers.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from holdfast.version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Tracer
    from starlette.types import ASGIApp

logger = logging.getLogger(__name__)

#: Either says where to send traces; the second is for traces alone.
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")

#: Asked for every few seconds by whatever watches the server; not worth a trace each.
_UNTRACED = "^https?://[^/]+/(livez|readyz|metrics|v2/health/.*)$"

_NOTHING: AbstractContextManager[None] = nullcontext()

_provider: TracerProvider | None = None
_tracer: Tracer | None = None


def start(exporter: SpanExporter | None = None) -> bool:
    """Begin to trace, if that is wanted.

    Args:
        exporter: Where spans go, each at once; if ``None``, to where the environment says, in batches.

    Returns:
        Whether anything is traced.
    """
    global _provider, _tracer
    wanted = any(os.environ.get(name) for name in ENDPOINTS)
    if exporter is None and (not wanted or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"):
        return _tracer is not None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        logger.warning(
            "There are no traces, as %r is not installed: pip install 'holdfast[telemetry]'", missing
        )
        return False
    stop()
    named = "OTEL_SERVICE_NAME" in os.environ or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    resource = Resource.create(
        {"service.version": __version__} | ({} if named else {"service.name": "holdfast"})
    )
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    if exporter is None:
        _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    else:
        _provider.add_span_processor(SimpleSpanProcessor(exporter))
    _tracer = _provider.get_tracer("holdfast", __version__)
    return True


def stop() -> None:
    """Send what is left, and trace no more."""
    global _provider, _tracer
    provider, _provider, _tracer = _provider, None, None
    if provider is not None:
        provider.shutdown()


def wrap(app: ASGIApp) -> ASGIApp:
    """The application with a span around every request, which goes on the caller's trace if it has one."""
    if _provider is None:
        return app
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

    wrapped: ASGIApp = OpenTelemetryMiddleware(
        app,
        tracer_provider=_provider,
        excluded_urls=_UNTRACED,
        default_span_details=lambda scope: (scope["method"], {}),
        exclude_spans=["receive", "send"],
    )
    return wrapped


def name_request(method: str, template: str) -> None:
    """Call the request's span what its route is called, in place of its address."""
    if _tracer is None:
        return
    from opentelemetry.trace import get_current_span

    span = get_current_span()
    span.update_name(f"{method} {template}")
    span.set_attribute("http.route", template)


def span(name: str, **attributes: str | float) -> AbstractContextManager[None]:
    """A span around what is done in this context; attributes are Holdfast's own, such as ``model``."""
    return _NOTHING if _tracer is None else _span(_tracer, name, attributes)


def call(name: str, url: str) -> AbstractContextManager[None]:
    """A span around a call of another server."""
    return _NOTHING if _tracer is None else _call(_tracer, name, url)


def past(name: str, began: float, seconds: float, **attributes: str | float) -> None:
    """A span of what is over, for what happened elsewhere and was only timed.

    Args:
        name: Its name.
        began: When it began, on the clock of ``time.monotonic()``.
        seconds: How long it took.
        attributes: Holdfast's own.
    """
    if _tracer is None:
        return
    start = time.time_ns() - int((time.monotonic() - began) * 1e9)
    made = _tracer.start_span(name, start_time=start, attributes=_own(attributes))
    made.end(start + int(seconds * 1e9))


def headers() -> dict[str, str]:
    """The headers that let another server go on with the trace."""
    carrier: dict[str, str] = {}
    if _tracer is not None:
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(carrier)
    return carrier


@contextmanager
def _span(tracer: Tracer, name: str, attributes: Mapping[str, str | float]) -> Iterator[None]:
    with tracer.start_as_current_span(name, attributes=_own(attributes)):
        yield


@contextmanager
def _call(tracer: Tracer, name: str, url: str) -> Iterator[None]:
    from opentelemetry.trace import SpanKind

    attributes: dict[str, Any] = {"http.request.method": "POST", "url.full": url}
    with tracer.start_as_current_span(name, kind=SpanKind.CLIENT, attributes=attributes):
        yield


def _own(attributes: Mapping[str, str | float]) -> dict[str, str | float]:
    return {f"holdfast.{name}": value for name, value in attributes.items()}
