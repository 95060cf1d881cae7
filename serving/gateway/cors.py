"""Which pages of other origins may call the gateway: none, unless the settings name them."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

#: What a page may send beside what every page may. No cookie is among it: who calls shows a key, or nothing.
_REQUEST_HEADERS = (
    "Accept",
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "Holdfast-Route-Key",
    "Idempotency-Key",
    "Inference-Header-Content-Length",
    "Last-Event-ID",
    "X-Request-Id",
    "traceparent",
    "tracestate",
)

#: What a page may read beside what every page may.
_ANSWER_HEADERS = (
    "Accept-Encoding",
    "Content-Disposition",
    "Inference-Header-Content-Length",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-Id",
)

#: Seconds for which a browser may remember what it was told.
_MAX_AGE = 600


def allow_origins(app: FastAPI, origins: tuple[str, ...], answer_headers: tuple[str, ...] = ()) -> None:
    """Let pages of these origins call; without any, nothing is added.

    A browser's preflight is answered before anybody asks for a key: it never has one.
    """
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=("GET", "HEAD", "POST", "PUT", "DELETE"),
            allow_headers=_REQUEST_HEADERS,
            expose_headers=(*_ANSWER_HEADERS, *answer_headers),
            max_age=_MAX_AGE,
        )
