"""A load generator that costs little: a closed loop over kept connections, in one thread, on plain sockets.

Closed means that each of the callers sends its next request when it has the answer to the last one. Such
callers slow down with the server, so the latencies are those of a server that is never asked for more than
it can do (coordinated omission): they compare servers with one another, and say nothing of a queue that
grows when requests come faster than answers.

It speaks just enough HTTP/1.1 to be right about the two servers that it is for: kept connections and answers
with a Content-Length. Anything else, and any status but 200, ends the benchmark.
"""

from __future__ import annotations

import re
import selectors
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from holdfast.errors import HoldfastError

#: Without any answer for so many seconds a server is taken to hang.
_PATIENCE = 60.0
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_END_OF_HEAD = b"\r\n\r\n"
_CHUNK = 256 * 1024


class LoadError(HoldfastError):
    """A server did not answer as it should; there is nothing to measure."""


@dataclass(frozen=True)
class Run:
    """What one measurement saw.

    Attributes:
        seconds: How long the measurement took.
        latencies: Seconds from sending to the answer's last byte, of every request sent in that time.
        completed: Answers that arrived in that time.
        answers: Every answer: which request, and the body.
        generator_cores: Cores that the load generator itself kept busy.
    """

    seconds: float
    latencies: NDArray[np.float64]
    completed: int
    answers: list[tuple[int, bytes]]
    generator_cores: float

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.completed / self.seconds

    def percentile(self, percent: float) -> float:
        """Seconds within which ``percent`` of the answers came."""
        return float(np.percentile(self.latencies, percent))


def post(path: str, body: bytes, content_type: str, host: str) -> bytes:
    """A whole request, ready to be sent."""
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def drive(
    address: tuple[str, int],
    requests: Sequence[bytes],
    *,
    concurrency: int,
    seconds: float,
    lead_in: float = 0.2,
) -> Run:
    """Keep ``concurrency`` callers busy for ``seconds``.

    Args:
        address: The server's host and port.
        requests: Whole requests, sent in turn.
        concurrency: Callers; each has a connection of its own.
        seconds: How long to measure.
        lead_in: Seconds of the same load before the measurement.

    Raises:
        LoadError: The server cannot be reached, hangs, or answers anything but 200.
    """
    loop = _Loop(address, requests, concurrency)
    try:
        cpu, wall = time.process_time(), time.perf_counter()
        loop.run(lead_in + seconds)
        cores = (time.process_time() - cpu) / (time.perf_counter() - wall)
    finally:
        loop.close()
    opened = loop.began + lead_in
    closed = opened + seconds
    sent, received = np.asarray(loop.sent), np.asarray(loop.received)
    inside = (sent >= opened) & (sent < closed)
    if not inside.any():
        raise LoadError(f"No request was sent within {seconds:g} s.", hint="Measure for longer: --seconds.")
    return Run(
        seconds=seconds,
        latencies=(received - sent)[inside],
        completed=int(((received >= opened) & (received < closed)).sum()),
        answers=loop.answers,
        generator_cores=cores,
    )


class _Caller:
    """One connection and the answer that is arriving on it."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=_PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.request = 0
        self.sent = 0.0
        self._buffer = b""
        self._body = -1
        self._end = -1

    def send(self, number: int, request: bytes) -> None:
        self.request, self.sent = number, time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bytes | None:
        """Take what has arrived; the answer's body once it is whole.

        Raises:
            LoadError: It is no answer to measure.
        """
        chunk = self.socket.recv(_CHUNK)
        if not chunk:
            raise LoadError("The server closed a connection with a request on it.")
        self._buffer = self._buffer + chunk if self._buffer else chunk
        if self._body < 0 and not self._read_head():
            return None
        if len(self._buffer) < self._end:
            return None
        status, body = self._buffer[9:12], self._buffer[self._body : self._end]
        if status != b"200":
            raise LoadError(f"The server answered {status.decode()}: {body[:300].decode(errors='replace')}")
        if len(self._buffer) > self._end:
            raise LoadError("The server sent more than one answer to one request.")
        self._buffer, self._body, self._end = b"", -1, -1
        return body

    def _read_head(self) -> bool:
        end = self._buffer.find(_END_OF_HEAD)
        if end < 0:
            return False
        found = _LENGTH.search(self._buffer, 0, end + 2)
        if not self._buffer.startswith(b"HTTP/1.1 ") or found is None:
            raise LoadError("The server's answer is not HTTP/1.1 with a Content-Length.")
        self._body = end + len(_END_OF_HEAD)
        self._end = self._body + int(found[1])
        return True


class _Loop:
    """Owns the callers' connections and all that was measured on them."""

    def __init__(self, address: tuple[str, int], requests: Sequence[bytes], concurrency: int) -> None:
        self.sent: list[float] = []
        self.received: list[float] = []
        self.answers: list[tuple[int, bytes]] = []
        self.began = 0.0
        self._requests = requests
        self._next = 0
        self._selector = selectors.DefaultSelector()
        self._callers: list[_Caller] = []
        try:
            for _ in range(concurrency):
                caller = _Caller(address)
                self._callers.append(caller)
                self._selector.register(caller.socket, selectors.EVENT_READ, caller)
        except OSError as error:
            self.close()
            raise LoadError(f"{address[0]}:{address[1]} cannot be reached: {error}.") from None

    def run(self, seconds: float) -> None:
        """Send until the time is over, then wait for the answers that are still to come."""
        self.began = time.perf_counter()
        until = self.began + seconds
        for caller in self._callers:
            self._send(caller)
        waiting = len(self._callers)
        while waiting:
            events = self._selector.select(_PATIENCE)
            if not events:
                raise LoadError(f"The server has not answered for {_PATIENCE:g} s.")
            for key, _ in events:
                caller = key.data
                try:
                    body = caller.receive()
                    if body is None:
                        continue
                    now = time.perf_counter()
                    self.sent.append(caller.sent)
                    self.received.append(now)
                    self.answers.append((caller.request, body))
                    if now < until:
                        self._send(caller)
                    else:
                        waiting -= 1
                except OSError as error:
                    raise LoadError(f"A connection broke: {error}.") from None

    def close(self) -> None:
        """Close every connection."""
        self._selector.close()
        for caller in self._callers:
            caller.socket.close()

    def _send(self, caller: _Caller) -> None:
        number = self._next
        self._next = (number + 1) % len(self._requests)
        caller.send(number, self._requests[number])
