"""A visit to one side: started, asked until its answers are right, put under load, looked at, and ended."""

from __future__ import annotations

import http.client
import json
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bare_loop import BareLoop
from classified import MEDIA_TYPES, Images
from gateway_report import BARE, Figures
from http_load import post
from machine import Memory, memory
from measuring import Check, measure_loop, measure_server
from peers.work import Plan
from servers import GATEWAY, Address, Server, environment, free_port, gateway_command
from serving_sides import MAX_BATCH, Answer, Layout, Peer, raw, read_gateway

from holdfast.bundle import Bundle

#: Callers while a server warms up.
_WARM_CALLERS = 16
#: Seconds that one try for a first answer may take.
_PATIENCE = 10.0


@dataclass(frozen=True)
class Visit:
    """What one visit to one side saw.

    Attributes:
        side: Its name.
        cold_start: Seconds from its start to its first right answer.
        idle: Memory after that answer.
        loaded: Memory after the load.
        levels: By the number of callers, what was measured.
        beside: The bare loop just before.
    """

    side: str
    cold_start: float
    idle: Memory
    loaded: Memory
    levels: Mapping[int, Figures]
    beside: Figures | None = None

    def as_json(self) -> dict[str, Any]:
        """For the results' file."""
        return asdict(self)


@dataclass(frozen=True)
class Contender:
    """A server as it is to be measured.

    Attributes:
        name: What to call it.
        command: Starts it on a port, with a folder of its own to run in.
        environment: Of its process, by the same.
        path: What is asked.
        encode: A request's content type and body for an image's bytes and media type.
        read: The answer out of its JSON.
    """

    name: str
    command: Callable[[int, Path], Sequence[str | Path]]
    environment: Callable[[int, Path], Mapping[str, str]]
    path: str
    encode: Callable[[bytes, str], tuple[str, bytes]]
    read: Callable[[Any], Answer]

    def requests(self, images: Images, address: Address) -> list[bytes]:
        """A whole request for each image."""
        whole = []
        for file, content in zip(images.files, images.contents, strict=True):
            content_type, body = self.encode(content, MEDIA_TYPES[file.suffix.lower()])
            whole.append(post(self.path, body, content_type, f"{address[0]}:{address[1]}"))
        return whole

    def check(self, images: Images, classes: Sequence[str]) -> Check:
        """Holds an answer against the session's: the class's name, and every probability."""

        def check(number: int, body: bytes) -> None:
            answer = self.read(json.loads(body))
            images.check_class(self.name, number, classes.index(answer.label))
            images.check_chances(self.name, number, answer.chances)

        return check


def the_gateway(bundle: Bundle, store: Path) -> Contender:
    """The gateway as it comes."""
    path = f"/v1/models/{bundle.name}/versions/{bundle.version}/classify"
    if bundle.manifest.defences[0] != "none":
        path += "?defence=none"  # the graph that the others run
    return Contender(
        GATEWAY,
        lambda port, _folder: gateway_command(store.resolve(), port),
        lambda _port, _folder: environment(),
        path,
        raw,
        read_gateway,
    )


def contender(peer: Peer, bundle: Bundle, layout: Layout, environments: Path) -> Contender:
    """A peer in one of its layouts."""

    def plan(port: int) -> Plan:
        return Plan(bundle.root.resolve(), port, layout.workers, layout.threads, layout.delay, MAX_BATCH)

    python = peer.python(environments.absolute())
    return Contender(
        peer.name,
        lambda port, folder: peer.command(python, folder, plan(port)),
        lambda port, folder: peer.environment(plan(port), folder),
        peer.path,
        peer.encode,
        peer.read,
    )


@contextmanager
def started(side: Contender, images: Images, classes: Sequence[str]) -> Iterator[Server]:
    """A server from its first right answer to its end.

    Raises:
        ServerError: It does not start.
        LoadError: Its first answer is wrong.
    """
    with tempfile.TemporaryDirectory(prefix="holdfast-peer-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        address = ("127.0.0.1", free_port())
        first, check = side.requests(images, address)[0], side.check(images, classes)

        def ready(_output: str) -> Address | None:
            body = ask(address, first)
            if body is None:
                return None
            check(0, body)
            return address

        command = side.command(address[1], folder)
        settings = side.environment(address[1], folder)
        with Server(side.name, command, ready, folder, environment=settings, folder=folder) as server:
            yield server


def visit_server(
    side: Contender,
    images: Images,
    classes: Sequence[str],
    callers: Sequence[int],
    seconds: float,
    warm_up: float,
    beside: Figures | None = None,
) -> Visit:
    """Start a server, measure it at each number of callers, and end it.

    Args:
        side: The server.
        images: What is sent.
        classes: The model's, in its order.
        callers: Numbers of callers.
        seconds: Of each measurement.
        warm_up: Seconds of load before the first.
        beside: The bare loop just before.

    Raises:
        ServerError: It does not start.
        LoadError: An answer is not 200, or wrong.
    """
    with started(side, images, classes) as server:
        cold_start, idle = server.cold_start, server.memory()
        requests, check = side.requests(images, server.address), side.check(images, classes)
        measure_server(server, requests, check, _WARM_CALLERS, warm_up, lead_in=0.0)
        levels = {level: measure_server(server, requests, check, level, seconds) for level in callers}
        return Visit(side.name, cold_start, idle, server.memory(), levels, beside)


def visit_loop(bundle: Bundle, images: Images, threads: int, seconds: float) -> Visit:
    """Start the bare loop, measure it, and end it."""
    began = time.monotonic()
    with BareLoop(bundle.root, images.files, threads, environment()) as loop:
        loop.logits()
        cold_start, idle = time.monotonic() - began, memory(loop.pid)
        figures = measure_loop(loop, "decode+run", images, seconds)
        return Visit(BARE, cold_start, idle, memory(loop.pid), {1: figures})


def ask(address: Address, request: bytes) -> bytes | None:
    """The body of the answer to one request; ``None`` where nobody listens yet, or it is not 200."""
    try:
        with socket.create_connection(address, timeout=_PATIENCE) as connection:
            connection.sendall(request)
            response = http.client.HTTPResponse(connection, method="POST")
            response.begin()
            body = response.read()
    except (OSError, http.client.HTTPException):
        return None
    return body if response.status == http.HTTPStatus.OK else None
