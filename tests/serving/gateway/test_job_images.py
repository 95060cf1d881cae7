"""The images of a job, beside what each attack made of them, over HTTP."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.campaigns import JOBS, STRONG_GREEN, WEAK_RED, arrays, submitted, work, zipped
from support.gateway import Gateway, assert_problem, gateway
from support.jobs import Backlog
from support.tiny import SIZE, make_tiny_bundle, solid_png

from serving.jobs.examples import IMAGES, JOB
from serving.jobs.views import Job, JobImages
from serving.keys.store import KeyStore

pytestmark = pytest.mark.anyio

#: In the order of the job: one that holds, two that are fooled, and one that the model gets wrong before.
FILES = {
    "green/0.png": solid_png(STRONG_GREEN),
    "red/0.png": solid_png(WEAK_RED),
    "red/1.png": solid_png(WEAK_RED, (4 * SIZE, 4 * SIZE)),
    "red/2.png": solid_png("blue"),
}


@pytest.fixture(scope="module")
async def shared(tiny_store: Path) -> AsyncIterator[Gateway]:
    """One gateway for all who only read, in which a job takes two images in a chunk."""
    async with gateway(tiny_store, jobs_chunk_images=2) as started:
        yield started


@pytest.fixture(scope="module")
async def job(shared: Gateway) -> dict[str, Any]:
    """A job that is over: PGD, and FGSM with next to no budget."""
    taken = await submitted(
        shared,
        zipped(FILES),
        attack=["pgd", "fgsm"],
        labels="folder",
        epsilon=[],
        **{"pgd.epsilon": "64/255", "fgsm.epsilon": "1/255"},
    )
    work(shared, taken["id"])
    return taken


async def look(gateway: Gateway, job: dict[str, Any], **query: Any) -> dict[str, Any]:
    response = await gateway.client.get(job["links"]["images"], params=query)
    assert response.status_code == 200, response.text
    JobImages.model_validate_json(response.content, strict=True)
    page: dict[str, Any] = response.json()
    return page


def pixels(png: str) -> np.ndarray:
    with Image.open(BytesIO(base64.b64decode(png))) as image:
        assert image.format == "PNG"
        return np.asarray(image)


async def test_every_image_is_shown_beside_what_became_of_it(shared: Gateway, job: dict[str, Any]) -> None:
    page = await look(shared, job)
    assert (page["total"], page["next"]) == (4, None)
    assert [(each["index"], each["image"], each["outcome"]) for each in page["images"]] == [
        (0, "green/0.png", "held"),
        (1, "red/0.png", "fooled"),
        (2, "red/1.png", "fooled"),
        (3, "red/2.png", "wrong before"),
    ]
    result = (await shared.client.get(job["links"]["result"])).json()["runs"][0]["record"]["results"]
    for shown, known in zip(page["images"], result, strict=True):
        for member in ("image", "label", "target", "outcome", "survives_rounding", "before", "after"):
            assert shown[member] == known[member]
        assert {"linf": shown["linf"], "l2": shown["l2"]} == known["reached"]
    green, red, large, blue = page["images"]
    assert (pixels(green["original"]) == STRONG_GREEN).all()
    assert (pixels(red["original"]) == WEAK_RED).all()
    moved = np.abs(pixels(red["adversarial"]).astype(int) - WEAK_RED)
    assert moved.max() == round(255 * red["linf"]) <= 64
    # As the model was shown it, not as it came.
    assert pixels(large["original"]).shape == (SIZE, SIZE, 3)
    assert blue["adversarial"] is None
    assert (pixels(blue["original"]) == (0, 0, 255)).all()


async def test_runs_are_counted_and_outcomes_chosen(shared: Gateway, job: dict[str, Any]) -> None:
    weak = await look(shared, job, run=1)
    assert [each["outcome"] for each in weak["images"]] == ["held", "held", "held", "wrong before"]
    for chosen, places in (
        ("fooled", [1, 2]),
        ("held", [0]),
        ("wrong before", [3]),
        (["held", "wrong before", "held"], [0, 3]),
        (["fooled", "held", "wrong before"], [0, 1, 2, 3]),
    ):
        page = await look(shared, job, outcome=chosen)
        assert [each["index"] for each in page["images"]] == places
        assert page["total"] == len(places)
    assert (await look(shared, job, run=1, outcome="fooled"))["images"] == []


async def test_pages_follow_one_another_to_the_end(shared: Gateway, job: dict[str, Any]) -> None:
    whole = await look(shared, job, outcome=["fooled", "wrong before"])
    address = f"{job['links']['images']}?outcome=wrong%20before&outcome=fooled&count=1"
    found, addresses = [], []
    while address:
        addresses.append(address)
        page = (await shared.client.get(address)).json()
        assert page["total"] == 3
        found += page["images"]
        address = page["next"]
    assert found == whole["images"]
    assert addresses[1] == (
        f"{job['links']['images']}?run=0&outcome=wrong%20before&outcome=fooled&first=1&count=1"
    )
    assert await look(shared, job, first=3, count=5) == {
        "total": 4,
        "next": None,
        "images": (await look(shared, job))["images"][3:],
    }
    assert await look(shared, job, first=4) == {"total": 4, "next": None, "images": []}


async def test_what_there_is_not_is_refused(shared: Gateway, job: dict[str, Any]) -> None:
    response = await shared.client.get(job["links"]["images"], params={"run": 2})
    problem = assert_problem(response, 404, "unknown-run")
    assert "has no run 2" in problem["detail"]
    assert "It has 2" in problem["detail"]
    response = await shared.client.get(f"{JOBS}/{'0' * 20}/images")
    assert_problem(response, 404, "unknown-job")
    for query in (
        {"count": 201},
        {"count": 0},
        {"first": -1},
        {"run": -1},
        {"outcome": "lost"},
        {"run": 2**31},
    ):
        response = await shared.client.get(job["links"]["images"], params=query)
        assert_problem(response, 422, "invalid-request")


async def test_a_job_that_runs_shows_what_is_finished(shared: Gateway) -> None:
    taken = await submitted(shared, zipped(FILES), labels="folder")
    assert await look(shared, taken) == {"total": 0, "next": None, "images": []}
    settings = shared.services.settings
    backlog = Backlog(settings.jobs_database, settings.model_store)
    try:
        backlog.carry_out(taken["id"], most=1)
    finally:
        backlog.close()
    page = await look(shared, taken)
    assert [each["index"] for each in page["images"]] == [0, 1]
    assert page["total"] == 2


async def test_exact_arrays_are_shown_in_8_bits(shared: Gateway) -> None:
    images = np.zeros((2, 3, SIZE, SIZE), dtype=np.float32)
    images[:, :, :, :] = np.array(WEAK_RED, dtype=np.float32)[:, None, None] / 255 + 0.001
    taken = await submitted(shared, arrays(images=images, labels=np.array([0, 0])), float_images="true")
    work(shared, taken["id"])
    page = await look(shared, taken)
    assert (pixels(page["images"][1]["original"]) == WEAK_RED).all()
    assert pixels(page["images"][1]["adversarial"]).shape == (SIZE, SIZE, 3)


async def test_images_of_a_model_that_is_gone_are_still_of_its_size(tmp_path: Path) -> None:
    for version in ("1", "2"):
        make_tiny_bundle(tmp_path, "tiny", version)
    async with gateway(tmp_path, jobs_chunk_images=1) as started:
        taken = await submitted(started, zipped(FILES), model="tiny/1", labels="folder")
        work(started, taken["id"])
        (tmp_path / "tiny" / "1").rename(tmp_path / "gone")
        await started.services.lifecycle.reload()
        page = await look(started, taken, outcome="fooled")
        assert pixels(page["images"][1]["original"]).shape == (SIZE, SIZE, 3)
        lost = await look(started, taken, outcome="wrong before")
        assert [(each["original"], each["adversarial"]) for each in lost["images"]] == [(None, None)]


async def test_images_are_their_owners_alone(tiny_store: Path, tmp_path: Path) -> None:
    keys = KeyStore(tmp_path / "keys.json")
    tokens = [keys.create(name, ("attack",))[0].reveal() for name in ("one", "two")]
    tokens.append(keys.create("three", ("classify",))[0].reveal())
    async with gateway(tiny_store, keys_file=tmp_path / "keys.json") as started:
        headers = [{"Authorization": f"Bearer {token}"} for token in tokens]
        taken = await submitted(started, solid_png("red"), headers=headers[0])
        address = taken["links"]["images"]
        mine, yours, neither = [(await started.client.get(address, headers=each)) for each in headers]
        assert mine.status_code == 200
        assert_problem(yours, 404, "unknown-job")
        assert_problem(neither, 403, "missing-scope")
        assert_problem(await started.client.get(address), 401, "unauthenticated")


def test_examples_are_what_their_schemas_say() -> None:
    for model, example in ((Job, JOB), (JobImages, IMAGES)):
        assert json.loads(model.model_validate_json(json.dumps(example)).model_dump_json()) == example
