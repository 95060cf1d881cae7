"""A body may come packed, and unpacked it is held to the same limits; a bomb is not unpacked."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.gateway import CLASSIFY, PNG, Gateway, assert_problem, gateway
from support.tiny import solid_png

from serving.gateway.inflate import PIECE, Inflater
from serving.gateway.problems import Problem

pytestmark = pytest.mark.anyio

RED = solid_png("red")


def deflate_raw(content: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(content) + packer.flush()


PACKED = {
    "gzip": ("gzip", gzip.compress(RED)),
    "x-gzip": ("x-gzip", gzip.compress(RED)),
    "in capitals": ("GZIP", gzip.compress(RED)),
    "two members": ("gzip", gzip.compress(RED[:10]) + gzip.compress(RED[10:])),
    "empty member": ("gzip", gzip.compress(b"") + gzip.compress(RED)),
    "deflate": ("deflate", zlib.compress(RED)),
    "deflate without its header": ("deflate", deflate_raw(RED)),
    "identity": ("identity", RED),
}


@pytest.mark.parametrize(("encoding", "content"), PACKED.values(), ids=PACKED)
async def test_packed_image_is_classified(tiny: Gateway, encoding: str, content: bytes) -> None:
    headers = PNG | {"Content-Encoding": encoding}
    response = await tiny.client.post(CLASSIFY, content=content, headers=headers)
    assert response.json()["predictions"][0]["label"] == "red"


DAMAGED = {
    "not packed": ("gzip", RED),
    "cut off": ("gzip", gzip.compress(RED)[:-4]),
    "nothing": ("gzip", b""),
    "wrong checksum": ("gzip", gzip.compress(RED)[:-8] + bytes(8)),
    "more after it": ("deflate", zlib.compress(RED) + b"more"),
    "rubbish after it": ("gzip", gzip.compress(RED) + b"rubbish"),
    "neither deflate": ("deflate", b"\xff\xff\xff\xff"),
}


@pytest.mark.parametrize(("encoding", "content"), DAMAGED.values(), ids=DAMAGED)
async def test_what_is_not_packed_as_it_says_is_refused(tiny: Gateway, encoding: str, content: bytes) -> None:
    headers = PNG | {"Content-Encoding": encoding}
    response = await tiny.client.post(CLASSIFY, content=content, headers=headers)
    assert_problem(response, 400, "malformed-body")
    assert tiny.services.admission.held == 0


@pytest.mark.parametrize("encoding", ["br", "zstd", "compress", "gzip, gzip", "x"])
async def test_other_encodings_are_refused_with_those_that_are_not(tiny: Gateway, encoding: str) -> None:
    headers = PNG | {"Content-Encoding": encoding}
    response = await tiny.client.post(CLASSIFY, content=RED, headers=headers)
    assert_problem(response, 415, "unsupported-content-encoding")
    assert response.headers["accept-encoding"] == "gzip, deflate"


async def test_unpacked_body_is_accepted_up_to_the_limit_and_no_further(tiny_store: Path) -> None:
    limit = 200_000
    async with gateway(tiny_store, max_body_bytes=limit, max_image_bytes=limit) as started:
        for more, status, kind in ((0, 200, ""), (1, 413, "too-many-bytes")):
            content = gzip.compress(RED + bytes(limit - len(RED) + more))
            assert len(content) < 1000
            headers = PNG | {"Content-Encoding": "gzip"}
            response = await started.client.post(CLASSIFY, content=content, headers=headers)
            assert response.status_code == status
            if kind:
                assert assert_problem(response, status, kind)["limit"] == limit


async def test_bomb_is_refused_without_being_unpacked(tiny_store: Path) -> None:
    bomb = gzip.compress(bytes(200_000_000), 9)
    async with gateway(tiny_store, max_body_bytes=1_000_000, max_image_bytes=1_000_000) as started:
        tracemalloc.start()
        response = await started.client.post(
            CLASSIFY, content=bomb, headers=PNG | {"Content-Encoding": "gzip"}
        )
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert started.services.admission.held == 0
    assert_problem(response, 413, "too-many-bytes")
    assert peak < 8_000_000


@settings(max_examples=60, deadline=None)
@given(
    members=st.lists(st.binary(max_size=3 * PIECE), min_size=1, max_size=3),
    sizes=st.lists(st.integers(1, 5000), min_size=1, max_size=4),
)
def test_pieces_of_any_size_are_put_together(members: list[bytes], sizes: list[int]) -> None:
    packed = b"".join(gzip.compress(member, 1) for member in members)
    inflater, unpacked, place, step = Inflater("gzip"), [], 0, 0
    while place < len(packed):
        size = sizes[step % len(sizes)]
        inflater.feed(packed[place : place + size])
        place, step = place + size, step + 1
        while piece := inflater.take():
            assert len(piece) <= PIECE
            unpacked.append(piece)
    inflater.finish()
    assert b"".join(unpacked) == b"".join(members)


@settings(max_examples=100, deadline=None)
@given(content=st.binary(max_size=2000), encoding=st.sampled_from(["gzip", "deflate"]))
def test_rubbish_is_refused_and_never_fails_otherwise(content: bytes, encoding: str) -> None:
    inflater = Inflater(encoding)
    inflater.feed(content)
    with suppress(Problem):
        while inflater.take():
            pass
        inflater.finish()
