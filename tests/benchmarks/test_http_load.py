"""The load generator against a real server whose behaviour is known."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from http_load import LoadError, drive, post

#: What the server waits for before it answers.
DELAY = 0.02


class Echo(BaseHTTPRequestHandler):
    """Answers with the request's own body, in two pieces, after a while; what the path says goes wrong."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(DELAY)
        self.server.peers.append(self.client_address[1])
        if self.path == "/gone":
            self.close_connection = True
            return
        self.send_response(503 if self.path == "/busy" else 200)
        if self.path == "/chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"0\r\n\r\n")
            return
        self.send_header("content-LENGTH", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1])
        self.wfile.flush()
        time.sleep(0.002)
        self.wfile.write(body[1:])

    def log_message(self, *_details: object) -> None:
        """Not on the tests' output."""


@pytest.fixture
def server(listen: Callable[[type[BaseHTTPRequestHandler]], HTTPServer]) -> HTTPServer:
    """The server, listening."""
    listening = listen(Echo)
    listening.peers = []
    return listening


def requests(path: str = "/echo") -> list[bytes]:
    """Requests of different bodies."""
    return [post(path, f"body {number}".encode() * 100, "text/plain", "127.0.0.1") for number in range(5)]


def test_every_answer_is_the_one_to_its_request(server: HTTPServer) -> None:
    run = drive(server.server_address, requests(), concurrency=3, seconds=0.4, lead_in=0.1)
    assert len(run.answers) >= 10
    assert all(body == f"body {number}".encode() * 100 for number, body in run.answers)
    assert {number for number, _ in run.answers} == set(range(5))


def test_connections_are_kept_and_there_are_as_many_as_callers(server: HTTPServer) -> None:
    drive(server.server_address, requests(), concurrency=3, seconds=0.3, lead_in=0.05)
    assert len(set(server.peers)) == 3


def test_rate_and_latency_are_those_of_the_server(server: HTTPServer) -> None:
    run = drive(server.server_address, requests(), concurrency=2, seconds=0.6, lead_in=0.1)
    assert run.latencies.min() >= DELAY
    assert run.percentile(50) <= run.percentile(99)
    # By Little's law callers = rate x mean latency, as long as every caller is always waiting.
    assert run.rate * run.latencies.mean() == pytest.approx(2, rel=0.15)
    assert run.generator_cores < 0.5


def test_what_was_sent_in_time_counts_however_late_its_answer(server: HTTPServer) -> None:
    run = drive(server.server_address, requests(), concurrency=1, seconds=DELAY / 2, lead_in=0.0)
    assert len(run.latencies) == 1
    assert run.completed == 0  # the answer came later


@pytest.mark.parametrize(
    ("path", "complaint"),
    [
        ("/busy", r"answered 503: body \d"),
        ("/gone", "closed a connection"),
        ("/chunked", "not HTTP/1.1 with a Content-Length"),
    ],
)
def test_anything_but_a_whole_200_ends_the_measurement(server: HTTPServer, path: str, complaint: str) -> None:
    with pytest.raises(LoadError, match=complaint):
        drive(server.server_address, requests(path), concurrency=2, seconds=0.2)


def test_a_server_that_is_not_there_is_said_to_be_so() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = unused.getsockname()
        with pytest.raises(LoadError, match="cannot be reached"):
            drive(address, requests(), concurrency=1, seconds=0.1)
