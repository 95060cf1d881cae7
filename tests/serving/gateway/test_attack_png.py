"""Content negotiation: the adversarial PNG itself with the facts in headers, or JSON."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from support.gateway import PNG, Gateway, assert_problem, gateway
from support.tiny import make_tiny_bundle, solid_png

from serving.gateway.attack.describing import answers
from serving.gateway.attack.negotiation import choose_media_type
from serving.gateway.problems import Problem

pytestmark = pytest.mark.anyio

ATTACK = "/v1/models/tiny/attack?epsilon=8/255&random_start=false"
IMAGE = solid_png((153, 148, 0))
JSON = "application/json"


@pytest.fixture(scope="module")
async def tiny(tiny_store: Path) -> AsyncIterator[Gateway]:
    async with gateway(tiny_store) as started:
        yield started


async def test_who_accepts_png_gets_the_image_and_the_facts_in_headers(tiny: Gateway) -> None:
    response = await tiny.client.post(ATTACK, content=IMAGE, headers={**PNG, "Accept": "image/png"})
    assert response.status_code == 200
    assert response.headers["content-type"] == "image/png"
    with Image.open(BytesIO(response.content)) as image:
        assert image.getpixel((3, 3)) == (149, 152, 4)
    facts = {
        name.removeprefix("holdfast-"): value
        for name, value in response.headers.items()
        if name.startswith("holdfast-")
    }
    assert facts == {
        "model": "tiny/1",
        "attack": "pgd",
        "defence": "none",
        "outcome": "fooled",
        "success": "true",
        "survives-rounding": "true",
        "label": "red",
        "label-from": "model",
        "before": "red",
        "before-probability": "0.548117",
        "after": "green",
        "after-probability": "0.528534",
        "budget": "linf 0.031373",
        "linf": "0.015686",
        "l2": "0.217355",
        "queries": "6",
        "forwards": "7",
        "backwards": "3",
    }
    documented = {name.lower() for name in answers()[200]["headers"]}
    assert {f"holdfast-{name}" for name in facts} <= documented
    assert response.headers["x-request-id"]
    assert response.headers["vary"] == "Accept"


async def test_the_png_is_the_one_that_json_has(tiny: Gateway) -> None:
    png = await tiny.client.post(ATTACK, content=IMAGE, headers={**PNG, "Accept": "image/png"})
    answer = await tiny.client.post(ATTACK, content=IMAGE, headers=PNG)
    assert base64.b64decode(answer.json()["adversarial"]["base64"]) == png.content
    assert answer.headers["vary"] == "Accept"


async def test_targets_and_flags_are_headers_where_there_are_any(tiny: Gateway) -> None:
    query = "/v1/models/tiny/attack?epsilon=0.2/255&step_size=0.2/255&random_start=false&target=green"
    image = solid_png((150, 150, 0))
    response = await tiny.client.post(query, content=image, headers={**PNG, "Accept": "image/png"})
    assert response.headers["holdfast-target"] == "green"
    assert response.headers["holdfast-flags"] == "lost_by_rounding"
    assert response.headers["holdfast-survives-rounding"] == "false"


async def test_class_names_outside_of_ascii_are_percent_encoded(tmp_path: Path) -> None:
    directory = make_tiny_bundle(tmp_path)
    rename(directory, ["rouge écarlate\r\nX: 1", "green", "blue"])
    async with gateway(tmp_path) as started:
        response = await started.client.post(ATTACK, content=IMAGE, headers={**PNG, "Accept": "image/png"})
    assert response.headers["holdfast-label"] == "rouge %C3%A9carlate%0D%0AX: 1"
    assert "x" not in response.headers


def rename(directory: Path, classes: list[str]) -> None:
    from holdfast.bundle import read_manifest, write_manifest

    manifest = read_manifest(directory)
    write_manifest(directory, manifest.model_copy(update={"classes": classes}))


async def test_what_cannot_be_answered_is_refused_before_anything_is_spent(tiny: Gateway) -> None:
    response = await tiny.client.post(ATTACK, content=b"", headers={**PNG, "Accept": "text/html"})
    problem = assert_problem(response, 406, "not-acceptable")
    assert problem["offered"] == [JSON, "image/png", "text/event-stream"]


async def test_problems_are_problems_whatever_is_accepted(tiny: Gateway) -> None:
    response = await tiny.client.post(ATTACK, content=b"", headers={**PNG, "Accept": "image/png"})
    assert_problem(response, 422, "empty-image")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, JSON),
        ("", JSON),
        ("*/*", JSON),
        ("image/png", "image/png"),
        ("IMAGE/PNG", "image/png"),
        ("image/*", "image/png"),
        ("application/*", JSON),
        ("image/png, */*", "image/png"),
        ("image/avif,image/webp,image/png,image/*;q=0.8,*/*;q=0.5", "image/png"),
        ("application/json;q=0.5, image/png;q=0.4", JSON),
        ("application/json;q=0.4, image/png;q=0.5", "image/png"),
        ("application/json, image/png", JSON),
        ("*/*, application/json;q=0", "image/png"),
        ("image/png;q=0, */*", JSON),
        ("text/html, application/json;q=0.1", JSON),
        ("nonsense, image/png", "image/png"),
        ("image/png;q=nonsense, application/json;q=0.1", JSON),
        ("image/png;q=nan, application/json;q=0.1", JSON),
    ],
)
def test_the_form_that_the_caller_likes_best_is_chosen(accept: str | None, chosen: str) -> None:
    assert choose_media_type(accept, (JSON, "image/png")) == chosen


@pytest.mark.parametrize(
    "accept", ["text/html", "application/json;q=0, image/png;q=0", "image/jpeg", ",", "*/png"]
)
def test_no_form_that_is_liked_is_a_problem(accept: str) -> None:
    with pytest.raises(Problem) as refused:
        choose_media_type(accept, (JSON, "image/png"))
    assert refused.value.kind.status == 406
