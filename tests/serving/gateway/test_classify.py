"""An image sent in any of the ways that are documented is answered as the model answers it."""

from __future__ import annotations

import asyncio
import base64
import math
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from support.gated import GatedBackend, GatedModel, eventually
from support.gateway import CLASSIFY, PNG, Gateway, assert_problem, gateway
from support.tiny import CLASSES, make_tiny_bundle, solid_png

from holdfast.bundle import ModelStore
from holdfast.manifest import Calibration, Discriminator, Manifest, Manifold, Transformation
from holdfast.probabilities import probabilities
from serving.backends.base import Prediction, Timings
from serving.gateway.classification import word
from serving.gateway.metrics import Metrics
from serving.gateway.schemas import Classification

pytestmark = pytest.mark.anyio

RED, GREEN, BLUE = (solid_png(colour) for colour in ("red", "lime", "blue"))


def encode(image: bytes) -> str:
    return base64.b64encode(image).decode()


def reencode(image: bytes, name: str) -> bytes:
    buffer = BytesIO()
    Image.open(BytesIO(image)).save(buffer, name)
    return buffer.getvalue()


def labels(answer: Classification) -> list[str]:
    return [prediction.label for prediction in answer.predictions]


def parse(response: httpx.Response) -> Classification:
    assert response.status_code == 200, response.text
    return Classification.model_validate_json(response.content, strict=True)


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("PNG", "image/png"),
        ("JPEG", "image/jpeg"),
        ("WEBP", "image/webp"),
        ("WEBP", "application/octet-stream"),
        ("PNG", "image/jpeg"),
        ("PNG", "Image/PNG; name=x"),
    ],
)
async def test_image_as_the_body_is_classified_by_its_bytes(
    tiny: Gateway, name: str, media_type: str
) -> None:
    content = reencode(solid_png("red", (32, 32)), name)
    response = await tiny.client.post(CLASSIFY, content=content, headers={"Content-Type": media_type})
    assert labels(parse(response)) == ["red"]


async def test_answer_holds_the_probability_of_every_class(tiny: Gateway) -> None:
    pixel = (255, 204, 0)
    answer = parse(await tiny.classify(solid_png(pixel)))
    [prediction] = answer.predictions
    exponentials = [math.exp(10 * value / 255) for value in pixel]
    expected = {name: value / sum(exponentials) for name, value in zip(CLASSES, exponentials, strict=True)}
    assert prediction.probabilities == pytest.approx(expected, abs=1e-6)
    assert list(prediction.probabilities) == CLASSES
    assert prediction.label == "red"
    assert prediction.class_index == 0
    assert prediction.probability == prediction.probabilities["red"]
    assert [each.label for each in prediction.top_k] == ["red", "green", "blue"]
    assert [each.class_index for each in prediction.top_k] == [0, 1, 2]
    assert [each.probability for each in prediction.top_k] == list(prediction.probabilities.values())


async def test_answer_says_what_answered_and_how_long_it_took(tiny: Gateway) -> None:
    response = await tiny.classify(RED)
    answer = parse(response)
    assert (answer.model, answer.version, answer.defence) == ("tiny", "1", "none")
    assert answer.request_id == response.headers["x-request-id"]
    timings = answer.timings
    assert timings.inference_ms > 0
    assert timings.total_ms >= timings.decode_ms + timings.queue_ms + timings.inference_ms - 0.01
    assert "manifold" not in response.json()["predictions"][0]


@pytest.mark.parametrize(("top_k", "listed"), [(1, 1), (2, 2), (3, 3), (1000, 3)])
async def test_top_k_is_clamped_to_the_classes(tiny: Gateway, top_k: int, listed: int) -> None:
    answer = parse(await tiny.classify(BLUE, top_k=top_k))
    assert len(answer.predictions[0].top_k) == listed
    assert len(answer.predictions[0].probabilities) == 3


async def test_image_of_another_size_is_scaled_to_cover_the_models_input(tiny: Gateway) -> None:
    wide = Image.new("RGB", (640, 64), "blue")
    wide.paste(
        "red", (288, 0, 352, 64)
    )  # the square in the middle is what is left when the sides are cut off
    buffer = BytesIO()
    wide.save(buffer, "PNG")
    answer = parse(await tiny.classify(buffer.getvalue()))
    assert labels(answer) == ["red"]
    assert answer.predictions[0].probabilities["blue"] < 0.01


async def test_large_image_is_classified_too(tiny: Gateway) -> None:
    answer = parse(await tiny.classify(solid_png("lime", (2000, 1500))))
    assert labels(answer) == ["green"]


async def test_form_of_images_is_answered_in_the_order_of_its_files(tiny: Gateway) -> None:
    files = [
        ("b", ("z.png", GREEN, "image/png")),
        ("a", ("a.jpg", reencode(solid_png("red", (16, 16)), "JPEG"), "image/jpeg")),
        ("b", ("blob", BLUE, "application/octet-stream")),
    ]
    assert labels(parse(await tiny.client.post(CLASSIFY, files=files))) == ["green", "red", "blue"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"image": encode(RED)}, ["red"]),
        ({"images": [encode(BLUE)]}, ["blue"]),
        (
            {"images": [encode(RED), f"data:image/png;base64,{encode(GREEN)}", encode(BLUE)]},
            ["red", "green", "blue"],
        ),
        ({"image": f"DATA:;BASE64,{encode(GREEN)}"}, ["green"]),
        ({"image": base64.encodebytes(RED).decode()}, ["red"]),
    ],
)
async def test_json_of_base64_is_answered_in_order(tiny: Gateway, body: object, expected: list[str]) -> None:
    assert labels(parse(await tiny.client.post(CLASSIFY, json=body))) == expected


async def test_request_of_more_images_than_a_batch_is_answered_whole_and_in_order(tiny: Gateway) -> None:
    colours = [("red", RED), ("green", GREEN), ("blue", BLUE)]
    asked = [colours[number * number % 3] for number in range(50)]
    response = await tiny.client.post(CLASSIFY, json={"images": [encode(image) for _, image in asked]})
    assert labels(parse(response)) == [label for label, _ in asked]


async def test_version_that_is_named_answers_and_the_newest_where_none_is(tmp_path: Path) -> None:
    for version in ("9", "10"):
        make_tiny_bundle(tmp_path, version=version)
    async with gateway(tmp_path) as started:
        for path, version in (
            ("/v1/models/tiny/classify", "10"),
            ("/v1/models/tiny/versions/9/classify", "9"),
            ("/v1/models/tiny/versions/10/classify", "10"),
        ):
            answer = parse(await started.client.post(path, content=RED, headers=PNG))
            assert answer.version == version


async def test_callers_at_the_same_time_each_get_their_own_answer(tiny: Gateway) -> None:
    colours = [("red", RED), ("green", GREEN), ("blue", BLUE)]
    asked = [colours[number * 7 % 3] for number in range(60)]
    responses = await asyncio.gather(*(tiny.classify(image) for _, image in asked))
    assert [labels(parse(response))[0] for response in responses] == [label for label, _ in asked]
    assert len({response.headers["x-request-id"] for response in responses}) == len(asked)


async def test_bad_image_fails_its_own_caller_alone(tiny_store: Path) -> None:
    model = GatedModel()
    backend = GatedBackend(ModelStore(tiny_store), model)
    async with gateway(tiny_store, backend=backend) as started:
        first = asyncio.create_task(started.classify(RED))
        await model.wait_started(1)
        sent = [RED, RED[:-30], GREEN, b"no image", BLUE]
        others = [asyncio.create_task(started.classify(image)) for image in sent]
        await eventually(lambda: backend.batcher.waiting == 3)
        model.open()
        responses = await asyncio.gather(*others)
        await first
    assert [response.status_code for response in responses] == [200, 422, 200, 422, 200]
    assert model.started == [1, 3]


async def test_one_bad_image_of_several_fails_the_request_and_every_bad_one_is_named(tiny: Gateway) -> None:
    images = [encode(RED), encode(RED[:-30]), encode(BLUE), "%%%", ""]
    response = await tiny.client.post(CLASSIFY, json={"images": images})
    problem = assert_problem(response, 422, "truncated-image")
    assert "Image 2 of 5" in problem["detail"]
    assert [(each["index"], each["type"]) for each in problem["images"]] == [
        (1, "/problems#truncated-image"),
        (3, "/problems#bad-base64"),
        (4, "/problems#empty-image"),
    ]
    assert all(each["detail"] and each["title"] for each in problem["images"])


def with_evidence(tiny_store: Path, evidence: str) -> Manifest:
    manifest = ModelStore(tiny_store).open("tiny").manifest
    low, high = (0.5, 0.9) if evidence == "discriminator" else (0.5, 0.1)
    named = Discriminator(architecture="mlp-1-8", latent="features") if evidence == "discriminator" else None
    manifold = Manifold.model_validate(
        {
            "evidence": evidence,
            "discriminator": named,
            "uncertain": low,
            "suspect": high,
            "false_positive_rates": (0.05, 0.01),
            "images": 100,
        }
    )
    return manifest.model_copy(update={"manifold": manifold, "imt": Transformation(epsilon=8 / 255)})


@pytest.mark.parametrize(
    ("evidence", "verdicts"),
    [
        ("discriminator", ["natural", "uncertain", "suspect"]),
        ("centre", ["uncertain", "natural", "natural"]),
    ],
)
async def test_manifold_evidence_is_answered_with_its_verdict(
    tiny_store: Path, evidence: str, verdicts: list[str]
) -> None:
    logits = np.zeros((3, 3), dtype=np.float32)
    scores = np.array([0.25, 0.75, 0.95], dtype=np.float32)
    moved = np.full(3, 4 / 255, dtype=np.float32)
    predictions = word(
        Prediction(logits, scores, Timings(0, 0, 3), moved), with_evidence(tiny_store, evidence), top_k=1
    )
    found = [prediction.manifold for prediction in predictions]
    assert all(each is not None and each.evidence == evidence for each in found)
    assert [each and each.verdict for each in found] == verdicts
    assert [each and each.score for each in found] == [0.25, 0.75, 0.95]
    assert found[0] is not None
    assert found[0].moved == pytest.approx(4 / 255, abs=1e-6)


async def test_the_models_temperature_makes_its_probabilities(tiny_store: Path) -> None:
    manifest = ModelStore(tiny_store).open("tiny").manifest
    calibration = Calibration(temperature=2, error_before=0, error_after=0, images=1, test_images=1)
    prediction = Prediction(np.array([[2, 0, 0]], dtype=np.float32), None, Timings(0, 0, 1))
    warm, plain = (
        word(prediction, each, top_k=1)[0].probability
        for each in (manifest.model_copy(update={"calibration": calibration}), manifest)
    )
    assert warm == pytest.approx(math.e / (math.e + 2), abs=1e-6)
    assert plain == pytest.approx(math.e**2 / (math.e**2 + 2), abs=1e-6)


async def test_verdicts_are_counted_for_prometheus(tiny_store: Path) -> None:
    metrics, bundle = Metrics(), ModelStore(tiny_store).open("tiny")
    prediction = Prediction(
        np.zeros((3, 3), dtype=np.float32), np.array([0, 0.95, 1], dtype=np.float32), Timings(0, 0, 3)
    )
    words = word(prediction, with_evidence(tiny_store, "discriminator"), top_k=1)
    metrics.count_verdicts(bundle, "imt", words)
    counted = metrics.render().decode()
    line = 'holdfast_manifold_verdicts_total{defence="imt",model="tiny",verdict="%s",version="1"} %s'
    assert line % ("suspect", "2.0") in counted
    assert line % ("natural", "1.0") in counted


async def test_metrics_are_answered_in_prometheus_format(tiny: Gateway) -> None:
    await tiny.classify(RED)
    response = await tiny.client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert "# TYPE holdfast_manifold_verdicts_total counter" in response.text


async def test_the_default_defence_is_the_first_that_the_model_offers(tiny: Gateway) -> None:
    for defence in ("default", "none"):
        assert parse(await tiny.classify(RED, defence=defence)).defence == "none"


async def test_probabilities_of_extreme_logits_are_numbers() -> None:
    logits = np.array([[1e30, -1e30, 0.0], [-3e38, -3e38, -3e38]], dtype=np.float32)
    np.testing.assert_allclose(probabilities(logits), [[1, 0, 0], [1 / 3, 1 / 3, 1 / 3]])
