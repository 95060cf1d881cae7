"""Images are decoded without holding up whoever else is served."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncIterator

import numpy as np
import pytest
from support.tiny import solid_png

from holdfast.images import ImageLimits, decode
from holdfast.manifest import InputSpec
from serving.backends.base import DeadlineExceededError
from serving.gateway.decoding import Decoder
from serving.gateway.problem_kinds import TOO_MANY_PIXELS
from serving.gateway.problems import Problem

pytestmark = pytest.mark.anyio

SPEC = InputSpec(channels=3, height=8, width=8)
LATER = 60.0


@pytest.fixture
async def decoder() -> AsyncIterator[Decoder]:
    made = Decoder(ImageLimits(max_pixels=4_000_000), threads=1)
    yield made
    made.close()


async def test_one_image_or_several_are_decoded_as_everywhere_else(decoder: Decoder) -> None:
    files = [solid_png("red"), solid_png("lime", (300, 200)), solid_png("blue", (8, 16))]
    for images in (files[:1], files[1:2], files):
        pixels = await decoder.decode(images, SPEC, deadline=time.monotonic() + LATER)
        assert pixels.dtype == np.float32
        np.testing.assert_array_equal(pixels, np.stack([decode(image, SPEC) for image in images]))


async def test_base64_is_decoded_alike(decoder: Decoder) -> None:
    image = solid_png("red")
    text = base64.b64encode(image).decode()
    pixels = await decoder.decode([text, f"data:;base64,{text}"], SPEC, deadline=time.monotonic() + LATER)
    np.testing.assert_array_equal(pixels, np.stack([decode(image, SPEC)] * 2))


async def test_event_loop_goes_on_while_a_large_image_is_decoded(decoder: Decoder) -> None:
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0)
            longest = max(longest, time.monotonic() - before)

    ticking = asyncio.create_task(tick())
    began = time.monotonic()
    await decoder.decode([solid_png("red", (2000, 2000))] * 12, SPEC, deadline=time.monotonic() + LATER)
    whole = time.monotonic() - began
    ticking.cancel()
    assert longest < whole / 2


async def test_small_file_of_many_pixels_is_not_decoded_on_the_event_loop(decoder: Decoder) -> None:
    many = solid_png("red", (1500, 1500))
    assert len(many) < 32 * 1024
    decoding = asyncio.create_task(decoder.decode([many], SPEC, deadline=time.monotonic() + LATER))
    await asyncio.sleep(0)
    assert not decoding.done()
    assert (await decoding).shape == (1, 3, 8, 8)


@pytest.mark.parametrize("limit", [63, 4_000_000])
async def test_limits_hold_for_small_files_too(limit: int) -> None:
    image = solid_png("red") if limit < 64 else solid_png("red", (2500, 2500))
    strict = Decoder(ImageLimits(max_pixels=limit), threads=1)
    with pytest.raises(Problem) as refused:
        await strict.decode([image], SPEC, deadline=time.monotonic() + LATER)
    strict.close()
    assert refused.value.kind is TOO_MANY_PIXELS


async def test_no_further_image_is_decoded_after_the_deadline(decoder: Decoder) -> None:
    with pytest.raises(DeadlineExceededError):
        await decoder.decode([solid_png("red")] * 2, SPEC, deadline=time.monotonic() - 1)
