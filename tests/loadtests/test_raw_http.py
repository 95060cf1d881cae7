"""Who sends byte by byte hears every answer, and knows silence from a closed door."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from loadtests.raw_http import GoneError, HangError, exchange

ANSWER = b"HTTP/1.1 400 Bad\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nno"


@contextmanager
def server(serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server of one connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            connection, _ = listener.accept()
            with connection:
                serve(connection)

        thread = threading.Thread(target=accept)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        thread.join()


def test_an_answer_in_the_middle_of_a_slow_body_is_heard_at_once() -> None:
    def impatient(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(ANSWER)

    with server(impatient) as url:
        began = time.monotonic()
        answer = exchange(url, [b"POST", 30.0, b" / HTTP/1.1"], patience=20)
    assert (answer.status, answer.body) == (400, b"no")
    assert answer.headers["content-type"] == "text/plain"
    assert time.monotonic() - began < 10


def test_silence_is_a_hang() -> None:
    done = threading.Event()
    with server(lambda connection: done.wait(10) and None) as url:
        with pytest.raises(HangError, match=r"within 0\.3 s"):
            exchange(url, [b"GET / HTTP/1.1\r\n\r\n"], patience=0.3)
        done.set()


@pytest.mark.parametrize("half", [b"", ANSWER[:6], ANSWER[:-1]])
def test_half_an_answer_is_none(half: bytes) -> None:
    def break_off(connection: socket.socket) -> None:
        connection.recv(100)
        connection.sendall(half)

    with server(break_off) as url, pytest.raises(GoneError, match="closed without an answer"):
        exchange(url, [b"GET / HTTP/1.1\r\n\r\n"], patience=10)


def test_who_goes_away_says_so() -> None:
    heard: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        while data := connection.recv(100):
            heard.append(data)
        connection.sendall(ANSWER)

    with server(listen) as url:
        answer = exchange(url, [b"GET / HT"], patience=10, half_close=True)
    assert (b"".join(heard), answer.status) == (b"GET / HT", 400)


def test_where_nobody_listens_the_door_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(GoneError, match="no connection"):
        exchange(f"http://127.0.0.1:{port}", [b"x"], patience=5)
