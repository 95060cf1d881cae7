"""Every limit from both sides: what just fits is answered, what is just too much is refused and says why."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.gateway import CLASSIFY, Gateway, assert_problem, gateway
from support.tiny import solid_png

from serving.gateway.attack.request import AttackBody
from serving.gateway.problems import JSON_DEPTH
from serving.gateway.uploads import ImagesBody

pytestmark = pytest.mark.anyio

RED = solid_png("red")
JSON = {"Content-Type": "application/json"}


def png(width: int, height: int) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (width, height), "red").save(buffer, "PNG")
    return buffer.getvalue()


async def test_bytes_of_a_body(tiny_store: Path) -> None:
    async with gateway(tiny_store, max_body_bytes=1000) as started:
        fits = await started.classify(RED + bytes(1000 - len(RED)))
        assert fits.status_code == 200
        problem = assert_problem(await started.classify(RED + bytes(1001 - len(RED))), 413, "too-many-bytes")
        assert problem["limit"] == 1000


async def test_bytes_of_an_image(tiny_store: Path) -> None:
    async with gateway(tiny_store, max_image_bytes=1000) as started:
        for size, status in ((1000, 200), (1001, 413)):
            files = [
                ("image", ("a.png", RED + bytes(size - len(RED)), "image/png")),
                ("image", ("b.png", RED)),
            ]
            response = await started.client.post(CLASSIFY, files=files)
            assert response.status_code == status
        assert_problem(response, 413, "too-many-bytes")


async def test_pixels_of_an_image(tiny_store: Path) -> None:
    async with gateway(tiny_store, max_pixels=10_000) as started:
        assert (await started.classify(png(100, 100))).status_code == 200
        assert_problem(await started.classify(png(100, 101)), 413, "too-many-pixels")
        assert_problem(await started.classify(png(20_000, 1)), 413, "too-many-pixels")


@pytest.mark.parametrize("kind", ["form", "json"])
async def test_images_of_a_request(tiny_store: Path, kind: str) -> None:
    async with gateway(tiny_store, max_images=3) as started:
        for images, status in ((3, 200), (4, 413)):
            if kind == "form":
                files = [("image", (f"{index}.png", RED, "image/png")) for index in range(images)]
                response = await started.client.post(CLASSIFY, files=files)
            else:
                body = {"images": [base64.b64encode(RED).decode()] * images}
                response = await started.client.post(CLASSIFY, json=body)
            assert response.status_code == status
        assert assert_problem(response, 413, "too-many-images")["limit"] == 3


@pytest.mark.parametrize("path", [CLASSIFY, "/v1/models/tiny/attack"])
async def test_levels_of_json(tiny: Gateway, path: str) -> None:
    def nested(levels: int) -> bytes:
        return b'{"images":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"

    fits = await tiny.client.post(path, content=nested(JSON_DEPTH), headers=JSON)
    assert_problem(fits, 422, "invalid-request")
    refused = await tiny.client.post(path, content=nested(JSON_DEPTH + 1), headers=JSON)
    assert assert_problem(refused, 400, "json-too-deep")["limit"] == JSON_DEPTH


@pytest.mark.parametrize(
    ("path", "images"), [(CLASSIFY, 3), ("/v1/models/tiny/attack", 1)], ids=["classify", "attack"]
)
async def test_values_of_json_are_counted_before_it_is_parsed(
    tiny_store: Path, path: str, images: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def values(commas: int) -> bytes:
        return b'{"images":[' + b"1," * commas + b"1]}"

    async with gateway(tiny_store, max_images=3) as started:
        fits = await started.client.post(path, content=values(1000 + 8 * images), headers=JSON)
        errors = assert_problem(fits, 422, "invalid-request")["errors"]
        assert 0 < len(errors) <= 100, "what is said of it has an end, too"

        def parse(*_: object, **__: object) -> None:
            raise AssertionError("it was parsed")

        monkeypatch.setattr(ImagesBody, "model_validate_json", parse)
        monkeypatch.setattr(AttackBody, "model_validate_json", parse)
        refused = await started.client.post(path, content=values(1001 + 8 * images), headers=JSON)
        assert assert_problem(refused, 413, "too-many-images")["limit"] == images


async def test_as_many_images_as_may_be_are_no_more_values_than_may_be(tiny_store: Path) -> None:
    url = "data:image/png;base64," + base64.b64encode(RED).decode()
    async with gateway(tiny_store, max_images=256) as started:
        answer = await started.client.post(CLASSIFY, json={"images": [url] * 256})
        assert answer.status_code == 200


async def test_requests_in_progress(tiny_store: Path) -> None:
    async with gateway(tiny_store, max_requests=1) as started:
        assert (await started.classify(RED)).status_code == 200
        with started.services.admission.enter():
            refused = await started.classify(RED)
        assert_problem(refused, 503, "overloaded")
        assert refused.headers["retry-after"] == "1"


ROUTING = "/v1/admin/models/tiny/routing"


async def test_bytes_of_a_body_that_the_framework_parses(tiny_store: Path) -> None:
    """Such as a routing's: small JSON, and no way round the limit."""
    body = b'{"weights": {"1": 1}}'
    async with gateway(tiny_store, max_body_bytes=len(body)) as started:
        assert (await started.client.put(ROUTING, content=body + b" ", headers=JSON)).status_code == 413
        too_deep = b"[" * 100_000
        assert (await started.client.put(ROUTING, content=too_deep, headers=JSON)).status_code == 413
        assert started.services.admission.held == 0


async def test_body_that_the_framework_parses_is_unpacked_and_read_like_any_other(tiny: Gateway) -> None:
    async def ask(content: bytes, **headers: str) -> Any:
        return await tiny.client.put(ROUTING, content=content, headers=JSON | headers)

    assert_problem(await ask(b"[" * 100_000 + b"]" * 100_000), 400, "malformed-body")
    assert_problem(await ask(b"{}", **{"Content-Encoding": "br"}), 415, "unsupported-content-encoding")
    assert_problem(await ask(b"{}", **{"Content-Encoding": "gzip"}), 400, "malformed-body")
