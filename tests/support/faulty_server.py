"""A server that answers as it is told: wrongly, slowly, in part, or not at all."""

from __future__ import annotations

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """A request as it came; names of headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


#: What is done about a request, on its socket.
Behaviour = Callable[[socket.socket], None]


@dataclass
class FaultyServer:
    """Does one thing after another, the last one again and again.

    Attributes:
        url: Where it is.
        pause: Seconds after the head of a request before its body is read.
        requests: What came, in order.
    """

    url: str
    behaviours: Sequence[Behaviour]
    pause: float = 0.0
    requests: list[Request] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def serve(self, connection: socket.socket) -> None:
        """Answer one request; every connection is for one."""
        with connection:
            connection.settimeout(30)
            try:
                request = _read(connection, self.pause)
                if request is None:
                    return
                with self.lock:
                    place = len(self.requests)
                    self.requests.append(request)
                self.behaviours[min(place, len(self.behaviours) - 1)](connection)
            except OSError:  # the caller has gone, which is what some tests are about
                pass


@contextmanager
def faulty_server(*behaviours: Behaviour, pause: float = 0.0) -> Iterator[FaultyServer]:
    """Run such a server as long as the context is."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = FaultyServer(f"http://127.0.0.1:{listener.getsockname()[1]}", behaviours, pause)
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                threading.Thread(target=server.serve, args=(connection,), daemon=True).start()

        listener.settimeout(0.05)
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server
        finally:
            over.set()
            thread.join()


def answer(status: int, content: Any, **headers: str) -> Behaviour:
    """A whole answer; what is no bytes becomes JSON."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return lambda connection: connection.sendall(_head(status, len(body), headers) + body)


def problem(status: int, kind: str, **headers: str) -> Behaviour:
    """A refusal, as the gateway words it."""
    document = {"type": f"/problems#{kind}", "title": kind, "status": status, "detail": f"It is {kind}."}
    return answer(status, document, **{"Content-Type": "application/problem+json", **headers})


def hang_up(connection: socket.socket) -> None:
    """No answer: the connection is closed."""


def reset(connection: socket.socket) -> None:
    """No answer: the connection is reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def half(content: Any) -> Behaviour:
    """An answer that ends in its middle."""
    body = json.dumps(content).encode()
    return lambda connection: connection.sendall(_head(200, len(body), {}) + body[: len(body) // 2])


def late(content: Any, seconds: float) -> Behaviour:
    """A whole answer after a while, in two parts that come one upon the other."""
    body = json.dumps(content).encode()
    middle = len(body) // 2

    def wait(connection: socket.socket) -> None:
        time.sleep(seconds)
        connection.sendall(_head(200, len(body), {}) + body[:middle])
        time.sleep(0.02)
        connection.sendall(body[middle:])

    return wait


def slow(content: Any, pause: float) -> Behaviour:
    """An answer whose bytes come one by one."""
    body = json.dumps(content).encode()

    def trickle(connection: socket.socket) -> None:
        connection.sendall(_head(200, len(body), {}))
        for byte in body:
            time.sleep(pause)
            connection.sendall(bytes([byte]))

    return trickle


def silent(seconds: float) -> Behaviour:
    """No answer for a while."""
    return lambda _: time.sleep(seconds)


def stream(*parts: bytes) -> Behaviour:
    """Server-sent events, after which the connection ends."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    return lambda connection: connection.sendall(head + b"".join(parts))


def _head(status: int, length: int, headers: dict[str, str]) -> bytes:
    fields = {
        "Content-Length": str(length),
        "Connection": "close",
        "X-Request-Id": "of-the-server",
        **headers,
    }
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} As told\r\n{lines}\r\n".encode()


def _read(connection: socket.socket, pause: float) -> Request | None:
    content = b""
    while b"\r\n\r\n" not in content:
        part = connection.recv(1 << 16)
        if not part:
            return None
        content += part
    head, _, body = content.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    time.sleep(pause)
    received = bytearray(body)
    if "chunked" in headers.get("transfer-encoding", ""):
        while not received.endswith(b"0\r\n\r\n"):
            received += connection.recv(1 << 16)
    while len(received) < int(headers.get("content-length", 0)):
        received += connection.recv(1 << 16)
    return Request(method, path, headers, bytes(received))
