"""HTTP on a socket: limits on what comes before a request's body, and on how slowly anything comes.

uvicorn and the parser under it set none: a header may be as large as memory is, a connection that never sends
a request stays for ever, and what trails a chunked body is added to the headers of a request that is being
answered already. Here

- an address, a header and all headers together end at a limit (414, 431);
- a request's headers are there in time, and so is its body, at a least rate (408);
- what is no HTTP is answered with a problem document like any other error (400);
- there are no more connections than can be served (503).

What is refused here no application has seen. It is answered, logged and counted like what is refused there,
and the connection is closed, but not before the caller had time to read the answer: a socket that is closed
with bytes unread in it takes the answer back.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import ClassVar

import httptools
from pydantic_core import to_json
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.gateway.body import TOO_SLOW, body_too_slow
from serving.gateway.problem_kinds import (
    HEADER_TIMEOUT,
    HEADERS_TOO_LARGE,
    MALFORMED_REQUEST,
    OVERLOADED,
    TOO_MANY_HEADERS,
    URI_TOO_LONG,
    Kind,
)
from serving.gateway.problems import MEDIA_TYPE, Problem, retry_after

#: Seconds for which a refused caller can read its answer, and in which what it sends is thrown away.
_LINGER = 1.0

#: Seconds for an application to answer that a body came too slowly, before it is answered here.
_GRACE = 1.0


@dataclass(frozen=True)
class Limits:
    """What a connection may send.

    Attributes:
        url_bytes: The most bytes in an address.
        header_bytes: The most bytes in all headers together, names and values.
        headers: The most headers.
        header_seconds: Time for a request's headers, and for the first of them.
        body_seconds: Time for a body, and as much more as its bytes take at the least rate.
        body_rate: Bytes in a second that a body must bring after that.
        connections: The most connections.
    """

    url_bytes: int = 8 * 1024
    header_bytes: int = 32 * 1024
    headers: int = 100
    header_seconds: float = 10.0
    body_seconds: float = 10.0
    body_rate: float = 1024.0
    connections: int = 4096

    @property
    def head_bytes(self) -> int:
        """The most bytes in a head, with what stands between its parts."""
        return self.url_bytes + self.header_bytes + 4 * self.headers + 64


class GatewayProtocol(HttpToolsProtocol):
    """One connection. Make the class with :func:`make_protocol`."""

    limits: ClassVar[Limits] = Limits()
    on_refusal: ClassVar[Callable[[Problem, str, str], None]] = staticmethod(lambda *_: None)

    # What is being received: a head until its last line, then a body; and how much of either has come.
    _in_body = False
    _begun = False
    _completed = 0
    _head_bytes = 0
    _header_bytes = 0
    _body_bytes = 0
    _body_since = 0.0
    _trailing = False
    _refusal: Problem | None = None
    _closing = False
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for a request."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.connections:
            self._refuse(
                Problem(OVERLOADED, "The server has as many connections as it takes.", retry_after(1))
            )
            return
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing more."""
        self._watch_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come, and see to it that the rest comes soon."""
        if self._closing:
            return
        self._unset_keepalive_if_required()
        in_head, completed = not self._in_body, self._completed
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse(self._refusal or Problem(MALFORMED_REQUEST, MALFORMED_REQUEST.advice))
            return
        except httptools.HttpParserUpgrade:
            pass  # nothing is offered to change to; the request is answered as it is
        if self._closing or self.transport.is_closing():
            return
        if self._in_body:
            if self._timer is None:
                self._watch_body()
            return
        if completed == self._completed:
            # All of it was part of one head, so that a header without an end is noticed before it ends.
            if in_head and self._begun:
                self._head_bytes += len(data)
                if self._head_bytes > self.limits.head_bytes:
                    self._refuse(self._headers_too_large())
                    return
            if self._timer is None:
                self._watch_head()
        elif self._begun and self._timer is None:
            self._watch_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._begun = True
        self._trailing = False
        self._head_bytes = self._header_bytes = self._body_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part of the address."""
        super().on_url(url)
        if len(self.url) > self.limits.url_bytes:
            limit = self.limits.url_bytes
            raise self._stop(
                Problem(
                    URI_TOO_LONG,
                    f"The address has more than the {limit} bytes that are accepted.",
                    members={"limit": limit},
                )
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or what trails a chunked body like one: that is counted and thrown away."""
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > self.limits.header_bytes:
            raise self._stop(self._headers_too_large())
        if self._trailing:
            return
        if len(self.headers) >= self.limits.headers:
            limit = self.limits.headers
            raise self._stop(
                Problem(
                    TOO_MANY_HEADERS,
                    f"The request has more than the {limit} headers that are accepted.",
                    members={"limit": limit},
                )
            )
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head has come; what comes now is a body."""
        self._watch_nothing()
        self._in_body = self._trailing = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has come as a whole."""
        self._watch_nothing()
        self._in_body = self._begun = False
        self._completed += 1
        super().on_message_complete()

    def _watch_head(self) -> None:
        self._timer = self.loop.call_later(self.limits.header_seconds, self._head_is_late)

    def _watch_body(self) -> None:
        self._body_since = self.loop.time()
        self._timer = self.loop.call_later(self.limits.body_seconds, self._look_at_body)

    def _watch_nothing(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_is_late(self) -> None:
        self._timer = None
        if self._begun:
            seconds = self.limits.header_seconds
            self._refuse(
                Problem(HEADER_TIMEOUT, f"The request's headers were not here within {seconds:g} s.")
            )
        else:
            self.transport.close()  # nobody has asked for anything

    def _look_at_body(self) -> None:
        """See whether the body has come as fast as it must."""
        self._timer = None
        limits, now = self.limits, self.loop.time()
        if self.flow.read_paused:
            # Nobody wants more of it at the moment: it begins anew when somebody does.
            self._body_since = now - self._body_bytes / limits.body_rate
        due = self._body_since + limits.body_seconds + self._body_bytes / limits.body_rate
        if now < due:
            self._timer = self.loop.call_at(due, self._look_at_body)
        elif self.cycle.response_started:
            self.transport.close()
        else:
            # The application answers, as for all else that is wrong with a body; see serving.gateway.body.
            self.cycle.scope["state"][TOO_SLOW] = True
            self.cycle.message_event.set()
            self._timer = self.loop.call_later(_GRACE, self._give_up_body)

    def _give_up_body(self) -> None:
        """Answer for an application that does not look."""
        self._timer = None
        if self.cycle.response_started:
            self.transport.close()
            return
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        self._refuse(body_too_slow())

    def _headers_too_large(self) -> Problem:
        limit = self.limits.header_bytes
        return Problem(
            HEADERS_TOO_LARGE,
            f"The headers have more than the {limit} bytes that are accepted.",
            members={"limit": limit},
        )

    def _stop(self, problem: Problem) -> Exception:
        """What makes the parser stop."""
        self._refusal = problem
        return RuntimeError(problem.detail)

    def _refuse(self, problem: Problem) -> None:
        """Answer with a problem, and close the connection when the caller had time to read it."""
        self._watch_nothing()
        self._closing = True
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.transport.close()  # in the middle of another answer
            return
        request_id = os.urandom(16).hex()
        self.transport.write(_response(problem, request_id))
        type(self).on_refusal(problem, request_id, self.client[0] if self.client else "")
        self.loop.call_later(_LINGER, self._close)

    def _close(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


def make_protocol(limits: Limits, on_refusal: Callable[[Problem, str, str], None]) -> type[GatewayProtocol]:
    """The protocol of connections with these limits.

    Args:
        limits: What one may send.
        on_refusal: Told of every problem that one was closed with, the id of its answer, and its address.
    """
    return type(
        "LimitedProtocol", (GatewayProtocol,), {"limits": limits, "on_refusal": staticmethod(on_refusal)}
    )


def _response(problem: Problem, request_id: str) -> bytes:
    kind: Kind = problem.kind
    body = to_json(problem.document("", request_id))
    headers = {
        "Content-Type": MEDIA_TYPE,
        "Content-Length": str(len(body)),
        "Connection": "close",
        "X-Request-Id": request_id,
        **{name: value for name, value in problem.headers.items() if name != "Connection"},
    }
    head = [f"HTTP/1.1 {kind.status} {HTTPStatus(kind.status).phrase}"]
    head += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*head, "", ""]).encode() + body
