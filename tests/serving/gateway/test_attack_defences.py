"""An attack on a defended model: the defence that is named is attacked through, and all are asked of it."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.defended import EPSILON
from support.digits import digit_pngs
from support.gateway import PNG, Gateway, assert_problem, gateway

from holdfast.attacks import PGDParameters, attack
from holdfast.attacks.onnx_defended import open_oracle
from holdfast.bundle import ModelStore
from holdfast.images import decode
from holdfast.manifest import Defence

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
async def defended(defended_store: Path) -> AsyncIterator[Gateway]:
    async with gateway(defended_store) as started:
        yield started


async def ask(defended: Gateway, query: str, model: str = "judged") -> dict[str, Any]:
    path = f"/v1/models/{model}/attack?float=true&{query}"
    response = await defended.client.post(path, content=digit_pngs(1)[0], headers=PNG)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def exact(answer: dict[str, Any]) -> np.ndarray:
    image: np.ndarray = np.load(BytesIO(base64.b64decode(answer["float"]["base64"])), allow_pickle=False)
    return image


@pytest.mark.parametrize(
    ("query", "defence"),
    [("", "none"), ("defence=imt", "imt"), ("defence=imt%2B", "imt+"), ("defence=imt+", "imt+")],
)
async def test_the_defence_that_is_named_is_attacked_through(
    defended: Gateway, defended_store: Path, query: str, defence: Defence
) -> None:
    answer = await ask(defended, f"epsilon=0.2&steps=4&{query}")
    assert answer["defence"] == defence
    bundle = ModelStore(defended_store).open("judged")
    oracle = open_oracle(bundle, defence, threads=1)
    image = decode(digit_pngs(1)[0], bundle.manifest.input)[None]
    labels = oracle.logits(image).argmax(1)
    expected = attack(oracle, image, labels, PGDParameters(epsilon=0.2, steps=4))
    np.testing.assert_array_equal(exact(answer), expected.images)
    assert answer["success"] == bool(expected.success[0])
    assert answer["counts"]["queries"] == int(expected.queries[0])
    assert ("dynamic" in [flag["name"] for flag in answer["flags"]]) == (defence != "none")


async def test_every_defence_is_asked_before_and_after_as_in_a_classification(defended: Gateway) -> None:
    answer = await ask(defended, "epsilon=0.2")
    assert list(answer["predictions"]) == ["none", "imt", "imt+"]
    png = base64.b64decode(answer["adversarial"]["base64"])
    for defence, found in answer["predictions"].items():
        params = {"defence": defence}
        for content, prediction in ((digit_pngs(1)[0], found["before"]), (png, found["after_in_8_bits"])):
            response = await defended.client.post(
                "/v1/models/judged/classify", content=content, headers=PNG, params=params
            )
            [classified] = response.json()["predictions"]
            assert prediction["label"] == classified["label"]
            assert prediction["probabilities"] == pytest.approx(classified["probabilities"], abs=1e-4)
            assert prediction["manifold"]["verdict"] == classified["manifold"]["verdict"]
        assert found["fooled"] == (found["after_in_8_bits"]["label"] != answer["label"])
        moved = found["before"]["manifold"].get("moved")
        if defence == "none":
            assert moved is None
        else:
            assert moved in (pytest.approx(EPSILON), pytest.approx(EPSILON / 2))


async def test_the_joint_attack_on_class_and_manifold_is_a_loss(defended: Gateway) -> None:
    answer = await ask(defended, "loss=ce%2Bmanifold&defence=imt&epsilon=0.1&steps=3")
    assert answer["attack"]["parameters"]["loss"] == "ce+manifold"
    assert answer["cost"]["gradients"] == 6


async def test_a_model_of_centres_is_attacked_on_its_own_losses(defended: Gateway) -> None:
    answer = await ask(defended, "loss=ftc&epsilon=0.1&steps=3", model="centred")
    assert answer["predictions"]["none"]["before"]["manifold"]["evidence"] == "centre"


async def test_a_defence_that_the_model_does_not_offer_is_refused(defended: Gateway) -> None:
    response = await defended.client.post(
        "/v1/models/centred/attack?defence=imt", content=digit_pngs(1)[0], headers=PNG
    )
    assert assert_problem(response, 422, "defence-not-offered")["offered"] == ["none"]
