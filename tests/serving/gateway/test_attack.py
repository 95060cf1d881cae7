"""An attack over HTTP does what the model's gradient says, and its answer says all that there is to know."""

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
from support.gateway import PNG, Gateway, gateway
from support.tiny import SCALE, SIZE, solid_png

from serving.gateway.attack.schemas import AttackAnswer

pytestmark = pytest.mark.anyio

ATTACK = "/v1/models/tiny/attack"
#: The logits are 10 / 255 times these: red leads green by 5 steps of 8 bits.
PIXEL = (153, 148, 0)


@pytest.fixture(scope="module")
async def tiny(tiny_store: Path) -> AsyncIterator[Gateway]:
    """One gateway for all tests here, so that one attack worker does."""
    async with gateway(tiny_store) as started:
        yield started


async def ask(tiny: Gateway, query: str = "", pixel: tuple[int, int, int] = PIXEL) -> dict[str, Any]:
    response = await tiny.client.post(f"{ATTACK}?{query}", content=solid_png(pixel), headers=PNG)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    AttackAnswer.model_validate_json(response.content, strict=True)
    return answer


def pixels(picture: dict[str, Any]) -> np.ndarray:
    with Image.open(BytesIO(base64.b64decode(picture["base64"]))) as image:
        assert (image.format, image.width, image.height) == ("PNG", picture["width"], picture["height"])
        return np.asarray(image)


async def test_the_attack_goes_the_way_that_the_gradient_points(tiny: Gateway) -> None:
    answer = await ask(tiny, "attack=pgd&epsilon=8/255&steps=20&random_start=false")
    # A step is epsilon / 4: two steps of 8 bits. Red falls, green and blue rise; after two steps green leads.
    changed = pixels(answer["adversarial"])
    assert (changed == np.array([149, 152, 4], dtype=np.uint8)).all()
    assert answer["label"] == "red"
    assert answer["label_from"] == "model"
    assert answer["outcome"] == "fooled"
    assert answer["success"] is True
    assert answer["survives_rounding"] is True
    assert answer["reached"]["linf"] == pytest.approx(4 / 255, abs=1e-6)
    assert answer["reached"]["l2"] == pytest.approx(4 / 255 * (3 * SIZE * SIZE) ** 0.5, abs=1e-5)
    assert answer["reached_in_8_bits"] == pytest.approx(answer["reached"], abs=1e-5)
    prediction = answer["predictions"]["none"]
    assert prediction["before"]["label"] == "red"
    for after in ("after", "after_in_8_bits"):
        exponentials = np.exp(SCALE * np.array([149, 152, 4]) / 255)
        assert prediction[after]["label"] == "green"
        assert prediction[after]["probability"] == pytest.approx(
            exponentials[1] / exponentials.sum(), abs=1e-5
        )
    assert prediction["fooled"] is True


async def test_the_answer_counts_what_was_spent(tiny: Gateway) -> None:
    answer = await ask(tiny, "epsilon=8/255&random_start=false")
    # The clean image, three gradients of which the last sees it fooled, the result, and it in 8 bits are
    # 6 queries; beside them the clean image once more, to see whether the model answers the same.
    assert answer["counts"] == {"forwards": 7, "backwards": 3, "queries": 6}
    assert answer["flags"] == []
    cost = answer["cost"]
    assert (cost["gradients"], cost["forwards"], cost["images"]) == (20, 24, 1)
    expected = 20 * cost["seconds_per_gradient"] + 4 * cost["seconds_per_forward"]
    assert cost["seconds"] == pytest.approx(expected, rel=0.02)
    timings = answer["timings"]
    assert timings["attack_ms"] > 0
    parts = ("decode_ms", "queue_ms", "attack_ms", "predict_ms")
    assert timings["total_ms"] >= sum(timings[part] for part in parts) - 0.01


async def test_all_parameters_are_answered_those_that_were_not_given_too(tiny: Gateway) -> None:
    answer = await ask(tiny, "attack=pgd&steps=3&seed=9")
    attack = answer["attack"]
    assert (attack["name"], attack["access"], attack["minimises"]) == ("pgd", "gradient", False)
    assert attack["budget"] == {"norm": "linf", "epsilon": pytest.approx(8 / 255)}  # the model's own
    assert attack["parameters"]["seed"] == 9
    assert attack["parameters"]["steps"] == 3
    assert attack["parameters"]["loss"] == "ce"
    assert attack["parameters"]["target"] is None


async def test_the_image_is_answered_as_the_model_was_shown_it(tiny: Gateway) -> None:
    shown = await ask(tiny, "epsilon=8/255")
    assert (pixels(shown["original"]) == np.array(PIXEL, dtype=np.uint8)).all()
    large = BytesIO()
    left = Image.new("RGBA", (4 * SIZE, 2 * SIZE), (153, 148, 0, 255))
    left.paste((0, 0, 255, 0), (2 * SIZE, 0, 4 * SIZE, 2 * SIZE))
    left.save(large, "PNG")
    response = await tiny.client.post(ATTACK, content=large.getvalue(), headers=PNG)
    found = pixels(response.json()["original"])
    # Its middle, at half the size: the right of it is transparent, which is white to the model.
    assert found.shape == (SIZE, SIZE, 3)
    assert found[0, 0].tolist() == [153, 148, 0]
    assert found[0, -1].tolist() == [255, 255, 255]


async def test_an_image_that_holds_is_answered_with_the_last_attempt(tiny: Gateway) -> None:
    answer = await ask(tiny, "epsilon=1/255&random_start=false")
    assert (answer["outcome"], answer["success"]) == ("held", False)
    assert answer["predictions"]["none"]["fooled"] is False
    assert (pixels(answer["adversarial"]) == np.array([152, 149, 1], dtype=np.uint8)).all()
    assert answer["counts"]["backwards"] == 20


@pytest.mark.parametrize(("label", "outcome"), [("red", "fooled"), ("0", "fooled"), ("blue", "wrong before")])
async def test_the_label_may_be_given_by_name_or_number(tiny: Gateway, label: str, outcome: str) -> None:
    answer = await ask(tiny, f"label={label}&epsilon=8/255")
    assert answer["label_from"] == "request"
    assert answer["label"] == ("red" if label == "0" else label)
    assert answer["outcome"] == outcome
    if outcome == "wrong before":
        assert answer["counts"]["backwards"] == 0
        assert answer["reached"] == {"linf": 0.0, "l2": 0.0}


@pytest.mark.parametrize("target", ["blue", "2", "least-likely"])
async def test_a_targeted_attack_reaches_its_target(tiny: Gateway, target: str) -> None:
    answer = await ask(tiny, f"attack=pgd&target={target}&epsilon=0.5&steps=40")
    assert answer["target"] == "blue"
    assert answer["outcome"] == "fooled"
    assert answer["predictions"]["none"]["after_in_8_bits"]["label"] == "blue"
    missed = await ask(tiny, f"attack=pgd&target={target}&epsilon=8/255")
    assert missed["outcome"] == "held"
    assert missed["predictions"]["none"]["fooled"] is False


async def test_success_that_rounding_undoes_is_said_so(tiny: Gateway) -> None:
    # Green leads red by less than half a step of 8 bits: the PNG is a tie, which goes to red.
    answer = await ask(tiny, "epsilon=2.6/255&step_size=2.6/255&steps=2&random_start=false")
    assert answer["success"] is True
    assert answer["survives_rounding"] == (
        answer["predictions"]["none"]["after_in_8_bits"]["label"] == "green"
    )
    lost = await ask(tiny, "epsilon=0.2/255&step_size=0.2/255&steps=2&random_start=false", (150, 150, 0))
    assert lost["success"] is True
    assert lost["survives_rounding"] is False
    assert lost["predictions"]["none"]["after"]["label"] == "green"
    assert lost["predictions"]["none"]["after_in_8_bits"]["label"] == "red"
    assert lost["predictions"]["none"]["fooled"] is False
    assert lost["reached_in_8_bits"] == {"linf": 0.0, "l2": 0.0}
    [flag] = lost["flags"]
    assert flag["name"] == "lost_by_rounding"
    assert "8 bits" in flag["meaning"]


async def test_the_perturbation_is_shown_around_grey_with_its_scale(tiny: Gateway) -> None:
    answer = await ask(tiny, "epsilon=8/255&random_start=false")
    shown = answer["perturbation"]
    assert shown["scale"] == pytest.approx(0.5 / (8 / 255), rel=1e-4)
    # Half of the budget of 8 was used: halfway between grey and black, or white.
    expected = np.rint(255 * (0.5 + 0.5 * np.array([-4, 4, 4]) / 8))
    np.testing.assert_allclose(pixels(shown)[2, 5], expected, atol=1)


async def test_the_exact_image_is_answered_on_request(tiny: Gateway) -> None:
    query = "epsilon=0.03&step_size=0.011&random_start=false"
    assert "float" not in await ask(tiny, query)
    answer = await ask(tiny, f"{query}&float=true")
    exact = np.load(BytesIO(base64.b64decode(answer["float"]["base64"])), allow_pickle=False)
    assert list(exact.shape) == answer["float"]["shape"] == [1, 3, SIZE, SIZE]
    assert exact.dtype == np.float32
    np.testing.assert_allclose(
        exact[0, :, 0, 0], np.array(PIXEL) / 255 + 0.011 * np.array([-1, 1, 1]), atol=1e-6
    )


async def test_the_way_of_the_attack_is_answered_on_request(tiny: Gateway) -> None:
    assert "trace" not in await ask(tiny)
    answer = await ask(tiny, "epsilon=8/255&random_start=false&trace=10")
    trace = answer["trace"]
    assert (trace["queries"], trace["every"]) == (3, 1)
    assert [step["label"] for step in trace["steps"]] == ["red", "red", "green"]
    assert [step["linf"] for step in trace["steps"]] == pytest.approx([0, 2 / 255, 4 / 255], abs=1e-6)
    for step, pixel in zip(trace["steps"], [(153, 148, 0), (151, 150, 2), (149, 152, 4)], strict=True):
        exponentials = np.exp(SCALE * np.array(pixel) / 255)
        assert step["probabilities"] == pytest.approx(exponentials / exponentials.sum(), abs=1e-5)
        assert step["probabilities"][step["class_index"]] == step["probability"]
        assert step["probabilities"][0] == step["probability_of_label"]
    losses = [step["loss"] for step in trace["steps"]]
    assert losses == sorted(losses)
    with Image.open(BytesIO(base64.b64decode(trace["steps"][1]["png"]))) as image:
        assert image.getpixel((0, 0)) == (151, 150, 2)
    [only] = (await ask(tiny, "attack=square&query_budget=5&trace=1&epsilon=1/255"))["trace"]["steps"]
    assert only["query"] == 0
    assert "loss" not in only


@pytest.mark.parametrize("attack", ["noise", "fgsm", "cw-linf", "ddn", "apgd-ce", "fab", "square", "rays"])
async def test_attacks_of_every_kind_are_carried_out(tiny: Gateway, attack: str) -> None:
    answer = await ask(tiny, f"attack={attack}&seed=1")
    assert answer["attack"]["name"] == attack
    assert answer["outcome"] in ("fooled", "held")
    if answer["attack"]["minimises"]:
        assert "budget" not in answer["attack"]
        assert answer["outcome"] == "fooled"
    else:
        assert answer["reached"]["linf"] <= 8 / 255 + 1e-6


async def test_the_same_seed_gives_the_same_image(tiny: Gateway) -> None:
    first, again, other = [
        (await ask(tiny, f"epsilon=2/255&steps=1&step_size=0.1/255&seed={seed}"))["adversarial"]["base64"]
        for seed in (1, 1, 2)
    ]
    assert first == again
    assert first != other


async def test_the_version_may_be_named(tiny: Gateway) -> None:
    path = "/v1/models/tiny/versions/1/attack"
    answer = (await tiny.client.post(path, content=solid_png(PIXEL), headers=PNG)).json()
    assert (answer["model"], answer["version"]) == ("tiny", "1")
    assert (
        await tiny.client.post("/v1/models/tiny/versions/7/attack", content=b"", headers=PNG)
    ).status_code == 404


async def test_an_image_of_another_size_is_attacked_at_the_models_size(tiny: Gateway) -> None:
    large = solid_png(PIXEL, (50, 40))
    answer = (await tiny.client.post(ATTACK, content=large, headers=PNG)).json()
    assert (answer["adversarial"]["width"], answer["adversarial"]["height"]) == (SIZE, SIZE)
    assert answer["success"] is True


async def test_attacks_are_counted_for_prometheus(tiny: Gateway) -> None:
    await ask(tiny, "attack=apgd-dlr&epsilon=8/255&loss=cw")
    text = (await tiny.client.get("/metrics")).text
    labels = 'attack="apgd-dlr",defence="none",model="tiny",outcome="success",version="1"'
    assert f"holdfast_attacks_total{{{labels}}} 1.0" in text
    route = 'route="/v1/models/{model}/attack",status="200"'
    [requests] = [
        line
        for line in text.splitlines()
        if line.startswith("holdfast_request_duration_seconds_count") and route in line
    ]
    assert 'defence="none"' in requests
    assert 'model="tiny"' in requests


async def test_answers_have_no_nulls_but_those_of_parameters(tiny: Gateway) -> None:
    answer = await ask(tiny, "epsilon=8/255")
    del answer["attack"]["parameters"]
    assert "null" not in json.dumps(answer)
