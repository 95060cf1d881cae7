"""Broken, hostile and rare images, by every way in: each has an answer, and none that the server failed."""

from __future__ import annotations

import base64
import resource
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest
from support.gateway import CLASSIFY, Gateway, gateway
from support.odd_images import odd_images

from holdfast.image_errors import ImageError
from holdfast.images import ImageLimits, decode
from serving.gateway.problems import MEDIA_TYPE, Problem

pytestmark = pytest.mark.anyio

ODD = odd_images()
LIMITS = ImageLimits(max_pixels=10_000_000)


async def send(served: Gateway, data: bytes, way: str) -> httpx.Response:
    if way == "form":
        return await served.client.post(CLASSIFY, files={"image": ("photo.png", data, "image/png")})
    if way == "json":
        return await served.client.post(CLASSIFY, json={"image": base64.b64encode(data).decode()})
    return await served.client.post(CLASSIFY, content=data, headers={"Content-Type": way})


@pytest.mark.parametrize("way", ["image/png", "image/webp", "form", "json"])
async def test_every_odd_image_is_classified_or_refused_with_its_own_problem(
    tiny_store: Path, way: str
) -> None:
    assert len(ODD) >= 300
    found: Counter[int] = Counter()
    async with gateway(tiny_store, max_pixels=LIMITS.max_pixels) as served:
        spec = served.services.lifecycle.catalogue.find("tiny").manifest.input
        for name, data in ODD.items():
            try:
                decode(data, spec, LIMITS)
                expected, kind = 200, ""
            except ImageError as error:
                problem = Problem.of(error)
                assert problem is not None
                expected, kind = problem.kind.status, problem.kind.name
            if not data and way == "form":
                expected, kind = 422, "empty-image"
            began = time.process_time()
            answer = await send(served, data, way)
            assert answer.status_code == expected, (name, answer.text)
            if expected != 200:
                assert answer.headers["content-type"] == MEDIA_TYPE, name
                document = answer.json()
                named = {each["type"] for each in document.get("images", [document])}
                assert f"/problems#{kind}" in named | {document["type"]}, (name, document)
            # What takes longer than this could be sent until nobody else is served.
            assert time.process_time() - began < 2, name
            found[answer.status_code] += 1
        assert (await served.classify(ODD["rare: png"])).status_code == 200
    # The corpus is to have much of each kind.
    assert found[200] >= 50
    assert found[422] >= 50
    assert found[415] >= 10
    assert found[413] >= 6


async def test_bombs_take_no_memory(tiny: Gateway) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, data in ODD.items():
        if "bomb" in name:
            assert (await send(tiny, data, "image/png")).status_code == 413
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 50_000  # kB; the smallest of the bombs claims 400 MB


async def test_many_odd_images_in_one_request_are_each_named(tiny_store: Path) -> None:
    bad = [data for name, data in ODD.items() if name.startswith("broken: ")][1:21]
    async with gateway(tiny_store) as served:
        files = [("image", (f"{number}.png", data, "image/png")) for number, data in enumerate(bad)]
        answer = await served.client.post(CLASSIFY, files=files)
        assert answer.status_code in (413, 415, 422)
        assert len(answer.json()["images"]) == len(bad)
