"""What comes over a socket is limited in size and in slowness, from its first byte on."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from support.served import Connection, served
from support.tiny import solid_png

pytestmark = pytest.mark.anyio

RED = solid_png("red")
HEALTH = b"GET /livez HTTP/1.1\r\nHost: gateway.localhost\r\n"


def classify(length: int, *more: str) -> bytes:
    lines = [
        "POST /v1/models/tiny/classify HTTP/1.1",
        "Host: gateway.localhost",
        "Content-Type: image/png",
        f"Content-Length: {length}",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize(
    ("head", "largest", "kind"),
    [
        (lambda size: b"GET /livez?" + b"a" * (size - 7) + b" HTTP/1.1\r\n\r\n", 200, "uri-too-long"),
        (
            lambda size: b"GET /livez HTTP/1.1\r\nX: " + b"a" * (size - 1) + b"\r\n\r\n",
            1000,
            "headers-too-large",
        ),
        (
            lambda size: b"GET /livez HTTP/1.1\r\n" + b"A: bcdefghi\r\n" * (size // 9) + b"\r\n",
            900,
            "headers-too-large",
        ),
    ],
    ids=["address", "one header", "many headers"],
)
@pytest.mark.parametrize("piece", [10_000, 7], ids=["at once", "in pieces"])
async def test_head_is_accepted_up_to_its_limit_and_no_further(
    tiny_store: Path, head: Callable[[int], bytes], largest: int, kind: str, piece: int
) -> None:
    limit = {"max_url_bytes" if kind == "uri-too-long" else "max_header_bytes": largest}
    async with served(tiny_store, max_headers=200, **limit) as gateway:
        for size, status in ((largest, 200), (largest + 9, {"uri-too-long": 414}.get(kind, 431))):
            content = head(size)
            async with gateway.connect() as connection:
                for start in range(0, len(content), piece):
                    connection.writer.write(content[start : start + piece])
                    if piece < 100:
                        await asyncio.sleep(0)
                reply = await connection.reply()
                assert reply.status == status
                if status != 200:
                    assert reply.kind == kind
                    assert reply.problem["limit"] == largest
                    assert reply.headers["connection"] == "close"
                    assert await connection.closed()


async def test_headers_are_accepted_up_to_their_number_and_no_further(tiny_store: Path) -> None:
    async with served(tiny_store, max_headers=10) as gateway:
        for more, status in ((9, 200), (10, 431)):
            reply = await gateway.ask(HEALTH + b"A: b\r\n" * more + b"\r\n")
            assert reply.status == status
        assert reply.kind == "too-many-headers"


async def test_header_that_never_ends_is_refused_before_it_does(tiny_store: Path) -> None:
    async with served(tiny_store, max_header_bytes=10_000) as gateway, gateway.connect() as connection:
        await connection.send(HEALTH + b"X: ")
        sender = asyncio.create_task(send_for_ever(connection, b"a" * 4096))
        assert (await connection.reply()).kind == "headers-too-large"
        assert await connection.closed()
        sender.cancel()


async def send_for_ever(connection: Connection, content: bytes) -> None:
    with suppress(ConnectionError):
        while True:
            await connection.send(content)
            await asyncio.sleep(0)


async def test_what_trails_a_body_never_becomes_a_header(tiny_store: Path) -> None:
    chunked = classify(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    async with served(tiny_store) as gateway:
        body = b"%x\r\n%s\r\n0\r\nContent-Type: text/html\r\n\r\n" % (len(RED), RED)
        reply = await gateway.ask(chunked + body)
        assert (reply.status, b'"red"' in reply.body) == (200, True)


async def test_trailers_without_an_end_are_refused(tiny_store: Path) -> None:
    chunked = classify(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    async with served(tiny_store, max_header_bytes=1000) as gateway, gateway.connect() as connection:
        await connection.send(chunked + b"1\r\na\r\n0\r\n" + b"A: bcdefghi\r\n" * 200)
        assert (await connection.reply()).kind == "headers-too-large"


async def test_what_is_no_http_is_answered_with_a_problem(tiny_store: Path) -> None:
    async with served(tiny_store) as gateway:
        for content in (b"\x16\x03\x01 hello\r\n\r\n", b"GET nowhere HTTP/9.9\r\n\r\n", b"GET  HTTP\r\n\r\n"):
            reply = await gateway.ask(content)
            assert (reply.status, reply.kind) == (400, "malformed-request")


async def test_head_that_comes_slowly_is_answered_with_408(tiny_store: Path) -> None:
    async with served(tiny_store, header_timeout=0.3) as gateway, gateway.connect() as connection:
        began = time.monotonic()
        for byte in HEALTH[:4]:
            await connection.send(bytes([byte]))
            await asyncio.sleep(0.01)
        reply = await connection.reply()
        assert (reply.status, reply.kind) == (408, "header-timeout")
        assert time.monotonic() - began < 5


async def test_slowly_is_measured_from_the_first_byte_and_not_from_the_last(tiny_store: Path) -> None:
    async with served(tiny_store, header_timeout=0.4) as gateway, gateway.connect() as connection:
        sender = asyncio.create_task(trickle(connection, HEALTH, 0.1))
        assert (await connection.reply()).kind == "header-timeout"
        assert not sender.done()
        sender.cancel()


async def test_connection_that_asks_for_nothing_is_closed(tiny_store: Path) -> None:
    async with served(tiny_store, header_timeout=0.2) as gateway:
        async with gateway.connect() as connection:
            assert await connection.closed()
        async with gateway.connect() as connection:  # nor do empty lines keep it
            await connection.send(b"\r\n" * 10)
            assert await connection.closed()


async def test_head_just_in_time_is_answered(tiny_store: Path) -> None:
    async with served(tiny_store, header_timeout=2) as gateway, gateway.connect() as connection:
        await connection.send(HEALTH)
        await asyncio.sleep(0.3)
        await connection.send(b"\r\n")
        assert (await connection.reply()).status == 200


async def test_connection_is_kept_between_requests_for_longer_than_a_head_may_take(tiny_store: Path) -> None:
    async with served(tiny_store, header_timeout=0.2) as gateway, gateway.connect() as connection:
        for _ in range(2):
            await connection.send(HEALTH + b"\r\n")
            assert (await connection.reply()).status == 200
            await asyncio.sleep(0.4)


async def test_body_that_comes_too_slowly_is_answered_with_408(tiny_store: Path) -> None:
    async with served(tiny_store, body_timeout=0.3, min_body_rate=1000) as gateway:
        async with gateway.connect() as connection:
            await connection.send(classify(len(RED)) + RED[:10])
            reply = await connection.reply()
            assert (reply.status, reply.kind) == (408, "body-timeout")
            assert reply.headers["connection"] == "close"
            assert await connection.closed()
        assert gateway.services.admission.requests == 0


async def trickle(connection: Connection, content: bytes, pause: float) -> None:
    for start in range(0, len(content), 4):
        await connection.send(content[start : start + 4])
        await asyncio.sleep(pause)


async def test_body_at_the_least_rate_is_waited_for(tiny_store: Path) -> None:
    """A body of about 80 bytes in about 0.6 s: 130 bytes/s."""
    settings = {"body_timeout": 0.2, "min_body_rate": 20}
    async with served(tiny_store, **settings) as gateway, gateway.connect() as connection:
        await connection.send(classify(len(RED)))
        await trickle(connection, RED, 0.03)
        assert (await connection.reply()).status == 200


async def test_byte_now_and_then_does_not_keep_a_body_alive(tiny_store: Path) -> None:
    settings = {"body_timeout": 0.2, "min_body_rate": 10_000}
    async with served(tiny_store, **settings) as gateway, gateway.connect() as connection:
        await connection.send(classify(len(RED)))
        sender = asyncio.create_task(trickle(connection, RED, 0.1))
        assert (await connection.reply()).kind == "body-timeout"
        sender.cancel()
        await asyncio.gather(sender, return_exceptions=True)


async def test_body_that_nobody_reads_is_not_waited_for_either(tiny_store: Path) -> None:
    """A route that wants no body has answered; what is left of the connection is closed."""
    async with served(tiny_store, body_timeout=0.2) as gateway, gateway.connect() as connection:
        await connection.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        assert (await connection.reply()).status == 200
        assert await connection.closed()


async def test_more_connections_than_allowed_are_told_so(tiny_store: Path) -> None:
    async with (
        served(tiny_store, max_connections=2) as gateway,
        gateway.connect() as first,
        gateway.connect() as second,
    ):
        for connection in (first, second):
            await connection.send(HEALTH + b"\r\n")
            assert (await connection.reply()).status == 200
        async with gateway.connect() as third:
            reply = await third.reply()
            assert (reply.status, reply.kind) == (503, "overloaded")
            assert reply.headers["retry-after"] == "1"


async def test_what_is_refused_is_logged_and_counted(
    tiny_store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "holdfast.access"):
        async with served(tiny_store, max_headers=10) as gateway:
            reply = await gateway.ask(HEALTH + b"A: b\r\n" * 10 + b"\r\n")
            figures = gateway.services.metrics.render().decode()
    assert 'holdfast_refused_connections_total{problem="too-many-headers"} 1.0' in figures
    [record] = [record for record in caplog.records if "refused" in record.getMessage()]
    assert record.fields["request_id"] == reply.headers["x-request-id"]  # type: ignore[attr-defined]
    assert record.fields["client"] == "127.0.0.1"  # type: ignore[attr-defined]


async def test_request_to_upgrade_is_answered_as_any_other(tiny_store: Path) -> None:
    async with served(tiny_store) as gateway:
        reply = await gateway.ask(HEALTH + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert reply.status == 200


async def test_pipelined_requests_are_all_answered(tiny_store: Path) -> None:
    settings = {"max_header_bytes": 256, "max_url_bytes": 64}
    async with served(tiny_store, **settings) as gateway, gateway.connect() as connection:
        await connection.send((HEALTH + b"\r\n") * 30 + HEALTH)
        await connection.send(b"\r\n")
        assert [(await connection.reply()).status for _ in range(31)] == [200] * 31


async def test_request_in_flight_is_answered_though_the_next_one_is_no_http(tiny_store: Path) -> None:
    async with served(tiny_store) as gateway, gateway.connect() as connection:
        await connection.send(HEALTH + b"\r\n")
        assert (await connection.reply()).status == 200
        await connection.send(b"nonsense\r\n\r\n")
        assert (await connection.reply()).kind == "malformed-request"
