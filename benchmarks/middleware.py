"""What the gateway does about a request beside answering it: processor time, alone and with no socket.

    python benchmarks/middleware.py

An application that answers with two bytes, and around it, one after the other, what is around the gateway's:
a key that was verified before, a rate limit with its headers, the metrics, and then what every gateway has,
the guard, the log and the request's id.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from holdfast.console import stdout, table
from serving.gateway.access_log import AccessLogMiddleware
from serving.gateway.gate import Gate
from serving.gateway.guard import GuardMiddleware
from serving.gateway.metrics import Metrics
from serving.gateway.observing import MetricsMiddleware, note_subject
from serving.gateway.rate_limit import RateLimitHeadersMiddleware
from serving.gateway.request_id import RequestIdMiddleware
from serving.keys.keyring import Keyring
from serving.keys.store import KeyStore
from serving.rates import Rate

Wrap = Callable[[ASGIApp], ASGIApp]

#: Counted, and never reached.
_RATE = Rate(1_000_000_000, 1)
_ROUNDS = 5


def main(
    requests: Annotated[
        int, typer.Option(min=1, help="Requests in a round; the best of five counts.")
    ] = 10_000,
) -> None:
    """Measure what each part costs."""
    rows = asyncio.run(measure(requests))
    sheet = table("with", ">a request, µs", ">more than before, µs")
    before = rows[0][1]
    for name, cost in rows:
        sheet.add_row(name, f"{cost:.1f}", f"{cost - before:.1f}")
        before = cost
    stdout.print(sheet)


async def measure(requests: int) -> list[tuple[str, float]]:
    """The parts, and the processor time in µs of a request with each and all before it."""
    with tempfile.TemporaryDirectory() as directory:
        store = KeyStore(Path(directory) / "keys.json")
        token, _ = store.create("benchmark", ("classify",))
        keyring = Keyring(store)
        await keyring.verify(token)
        metrics = Metrics()
        opened, keyed = Gate(None, metrics), Gate(keyring, metrics)
        limited = Gate(keyring, metrics, rate=_RATE)
        counted: list[Wrap] = [
            RateLimitHeadersMiddleware,
            partial(MetricsMiddleware, metrics=metrics, templates={measure: "/v1/models/{model}/classify"}),
        ]
        steps: Sequence[tuple[str, Gate, list[Wrap]]] = (
            ("nothing", opened, []),
            ("a key", keyed, []),
            ("a rate limit", limited, counted[:1]),
            ("metrics", limited, counted),
            (
                "guard, log and request id",
                limited,
                [GuardMiddleware, *counted, AccessLogMiddleware, RequestIdMiddleware],
            ),
        )
        found = []
        for name, gate, wraps in steps:
            app = _application(gate)
            for wrap in wraps:
                app = wrap(app)
            found.append((name, await _cost(app, token.reveal(), requests)))
        keyring.close()
    return found


def _application(gate: Gate) -> ASGIApp:
    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        await gate.admit(scope, "classify")
        scope["endpoint"] = measure
        if "subject" in scope["state"]:
            note_subject(scope, "tiny", "1", "none")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    return app


async def _cost(app: ASGIApp, key: str, requests: int) -> float:
    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(_: Message) -> None:
        pass

    headers = [
        (b"host", b"gateway.test"),
        (b"user-agent", b"benchmark"),
        (b"content-type", b"image/png"),
        (b"authorization", b"Bearer " + key.encode()),
    ]
    best = float("inf")
    for _ in range(_ROUNDS):
        began = time.process_time()
        for _ in range(requests):
            scope: Scope = {
                "type": "http",
                "method": "POST",
                "path": "/v1/models/tiny/classify",
                "headers": headers,
                "client": ("127.0.0.1", 1),
                "state": {},
            }
            await app(scope, receive, send)
        best = min(best, (time.process_time() - began) / requests)
    return best * 1e6


if __name__ == "__main__":
    typer.run(main)
