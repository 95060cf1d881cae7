"""One request on a connection of its own, byte by byte as given: right or wrong, whole or not."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from http.client import HTTPException, HTTPResponse
from urllib.parse import urlsplit

import gevent
from gevent import socket, ssl

from loadtests.answers import Answer

#: What is sent: bytes, or seconds to wait.
Piece = bytes | float


class HangError(Exception):
    """Nothing came for longer than anybody waits."""


class GoneError(Exception):
    """The connection was closed without a whole answer."""


def exchange(
    url: str, pieces: Iterable[Piece], *, patience: float, half_close: bool = False, method: str = "POST"
) -> Answer:
    """Send pieces until there are no more, or the server closes or answers; read one answer.

    Args:
        url: The server's address, of which scheme, host and port count.
        pieces: What to send.
        patience: Seconds without any byte after which the server is taken to hang.
        half_close: Say that nothing more will come after the last piece, as who has gone away does.
        method: HEAD has answers without a body.

    Raises:
        HangError: There was no answer in time.
        GoneError: The server closed the connection without one.
    """
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        connection = socket.create_connection((parts.hostname, port), timeout=patience)
    except OSError as error:
        raise GoneError(f"no connection: {type(error).__name__}") from None
    with contextlib.closing(connection):
        if parts.scheme == "https":
            try:
                connection = ssl.create_default_context().wrap_socket(
                    connection, server_hostname=parts.hostname
                )
            except OSError as error:
                raise GoneError(f"no TLS: {type(error).__name__}") from None
            if half_close:  # TLS ends in both directions: who goes away hears nothing more
                _write(connection, pieces, half_close=False)
                raise GoneError("gone before the answer")
        # Beside the reading: a server that answers in the middle of a body is to be heard at once.
        writer = gevent.spawn(_write, connection, pieces, half_close)
        try:
            return _read(connection, method, patience)
        finally:
            writer.kill()


def _write(connection: socket.socket, pieces: Iterable[Piece], half_close: bool) -> None:
    with contextlib.suppress(OSError):  # what it means that the server has gone, the reader finds out
        for piece in pieces:
            if isinstance(piece, bytes):
                connection.sendall(piece)
            else:
                gevent.sleep(piece)
        if half_close:
            connection.shutdown(socket.SHUT_WR)


def _read(connection: socket.socket, method: str, patience: float) -> Answer:
    began = time.monotonic()
    try:
        response = HTTPResponse(connection, method=method)
        response.begin()
        body = response.read()
    except TimeoutError:
        raise HangError(f"no answer within {patience:g} s") from None
    except (OSError, HTTPException) as error:
        if time.monotonic() - began >= patience:
            raise HangError(f"no answer within {patience:g} s") from None
        raise GoneError(f"closed without an answer: {type(error).__name__}") from None
    finally:
        response.close()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)
