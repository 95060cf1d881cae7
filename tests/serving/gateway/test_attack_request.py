"""An attack is asked for beside an image, in a form or in JSON; what cannot be used is told why."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from support.gateway import PNG, Gateway, assert_problem, gateway
from support.tiny import CLASSES, solid_png

from holdfast.attacks.catalogue import catalogue

pytestmark = pytest.mark.anyio

ATTACK = "/v1/models/tiny/attack"
IMAGE = solid_png((153, 148, 0))
BASE64 = base64.b64encode(IMAGE).decode()


@pytest.fixture(scope="module")
async def tiny(tiny_store: Path) -> AsyncIterator[Gateway]:
    async with gateway(tiny_store) as started:
        yield started


async def send_json(tiny: Gateway, **body: Any) -> httpx.Response:
    return await tiny.client.post(ATTACK, json={"image": BASE64, **body})


def outcome(response: httpx.Response) -> dict[str, Any]:
    """What does not depend on the clock."""
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return {name: value for name, value in answer.items() if name not in ("timings", "request_id", "cost")}


async def test_an_address_a_form_and_json_ask_for_the_same(tiny: Gateway) -> None:
    query = "attack=cw-linf&epsilon=8/255&steps=7&label=red&top_k=2&float=true&defence=none"
    raw = await tiny.client.post(f"{ATTACK}?{query}", content=IMAGE, headers=PNG)
    fields = dict(pair.split("=", 1) for pair in query.split("&"))
    form = await tiny.client.post(ATTACK, files={"image": ("a.png", IMAGE)}, data=fields)
    mixed = await tiny.client.post(f"{ATTACK}?{query}", files={"image": ("a.png", IMAGE)})
    json = await send_json(
        tiny,
        attack="cw-linf",
        parameters={"epsilon": "8/255", "steps": 7},
        label="red",
        top_k=2,
        float=True,
        defence="none",
    )
    assert outcome(raw) == outcome(form) == outcome(mixed) == outcome(json)
    assert len(outcome(raw)["predictions"]["none"]["before"]["top_k"]) == 2


async def test_pgd_is_meant_where_no_attack_is_named(tiny: Gateway) -> None:
    assert outcome(await send_json(tiny))["attack"]["name"] == "pgd"


@pytest.mark.parametrize("epsilon", ["8/255", "0.03137254901960784", 8 / 255])
async def test_a_budget_is_written_as_people_write_it(tiny: Gateway, epsilon: str | float) -> None:
    found = outcome(await send_json(tiny, parameters={"epsilon": epsilon}))
    assert found["attack"]["budget"]["epsilon"] == pytest.approx(8 / 255)
    query = await tiny.client.post(ATTACK, content=IMAGE, headers=PNG, params={"epsilon": epsilon})
    assert outcome(query) == found


@pytest.mark.parametrize(("label", "target"), [("red", "green"), (0, 1), ("0", "1"), ("red", 1)])
async def test_classes_in_json_are_names_or_numbers(
    tiny: Gateway, label: str | int, target: str | int
) -> None:
    found = outcome(await send_json(tiny, label=label, parameters={"target": target, "epsilon": 0.5}))
    assert (found["label"], found["target"], found["outcome"]) == ("red", "green", "fooled")


async def test_values_that_are_no_text_are_read_from_an_address(tiny: Gateway) -> None:
    query = "attack=fab&epsilon=none&norm=l2&stop_at_success=false&steps=3"
    found = outcome(await tiny.client.post(f"{ATTACK}?{query}", content=IMAGE, headers=PNG))
    parameters = found["attack"]["parameters"]
    assert (parameters["epsilon"], parameters["norm"], parameters["stop_at_success"]) == (None, "l2", False)


async def test_the_one_norm_that_an_attack_has_anyway_may_be_named(tiny: Gateway) -> None:
    response = await tiny.client.post(f"{ATTACK}?attack=ddn&norm=l2&steps=5", content=IMAGE, headers=PNG)
    assert outcome(response)["outcome"] == "fooled"
    response = await tiny.client.post(f"{ATTACK}?attack=ddn&norm=linf", content=IMAGE, headers=PNG)
    assert_problem(response, 422, "invalid-request")


@pytest.mark.parametrize(
    ("query", "where", "message"),
    [
        ("steps=0", "query steps", "greater than or equal to 1"),
        ("steps=many", "query steps", "valid integer"),
        ("epsilon=8%2F0", "query epsilon", "is not a budget"),
        ("epsilon=-1", "query epsilon", "not negative"),
        ("query_budget=5", "query query_budget", "nothing of this name"),
        ("norm=l1", "query norm", "'linf' or 'l2'"),
        ("target=2.5", "", ""),
        ("attack=apgd-t&target=1", "query target", "nothing of this name"),
        ("norm=l2", "query epsilon", "needs a budget"),
        ("float=maybe", "query float", "boolean"),
        ("trace=1000", "query trace", "less than or equal to 64"),
        ("top_k=0", "query top_k", "greater than or equal to 1"),
        ("steps=3&steps=4", "query steps", "given twice"),
        ("loss=nonsense", "query loss", "nonsense"),
        ("seed=99999999999999999999", "query seed", ""),
    ],
)
async def test_an_option_that_cannot_be_used_is_named(
    tiny: Gateway, query: str, where: str, message: str
) -> None:
    response = await tiny.client.post(f"{ATTACK}?{query}", content=IMAGE, headers=PNG)
    if not where:
        assert_problem(response, 422, "unknown-class")
        return
    problem = assert_problem(response, 422, "invalid-request")
    [error] = problem["errors"]
    assert error["where"] == where
    assert message in error["message"]
    assert where in problem["detail"]


async def test_who_names_a_parameter_that_is_not_there_learns_which_are(tiny: Gateway) -> None:
    response = await tiny.client.post(f"{ATTACK}?attack=square&steps=5", content=IMAGE, headers=PNG)
    problem = assert_problem(response, 422, "invalid-request")
    assert problem["offered"] == list(catalogue()["square"].parameters.model_fields)


async def test_who_names_an_attack_that_is_not_there_learns_which_are(tiny: Gateway) -> None:
    problem = assert_problem(await send_json(tiny, attack="pgd2"), 422, "attack-not-offered")
    assert problem["offered"] == list(catalogue())


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"parameters": {"steps": "7"}}, "body parameters steps"),
        ({"parameters": {"steps": True}}, "body parameters steps"),
        ({"parameters": {"steps": 0}}, "body parameters steps"),
        ({"parameters": {"target": 1.5}}, "body parameters target"),
        ({"parameters": {"random_start": "false"}}, "body parameters random_start"),
        ({"parameters": {"epsilon": True}}, "body parameters epsilon"),
        ({"parameters": 3}, "body parameters"),
        ({"float": "true"}, "body float"),
        ({"steps": 3}, "body steps"),
        ({"label": 1.5}, "body label"),
    ],
)
async def test_json_is_taken_by_its_schema_and_nothing_is_guessed(
    tiny: Gateway, body: dict[str, Any], where: str
) -> None:
    problem = assert_problem(await send_json(tiny, **body), 422, "invalid-request")
    assert problem["errors"][0]["where"].startswith(where)


@pytest.mark.parametrize("label", ["zebra", "3", 3, -1, "", "-1", "²"])
async def test_a_class_that_the_model_has_not_got_is_refused_with_those_that_it_has(
    tiny: Gateway, label: str | int
) -> None:
    for body in ({"label": label}, {"parameters": {"target": label}}):
        problem = assert_problem(await send_json(tiny, **body), 422, "unknown-class")
        assert problem["offered"] == CLASSES


async def test_beside_json_nothing_is_in_the_address(tiny: Gateway) -> None:
    response = await tiny.client.post(f"{ATTACK}?steps=3", json={"image": BASE64})
    assert assert_problem(response, 422, "invalid-request")["errors"][0]["where"] == "query steps"


@pytest.mark.parametrize("place", ["form", "query"])
async def test_what_is_said_twice_in_a_form_is_refused(tiny: Gateway, place: str) -> None:
    data = {"steps": "3"}
    query = "?steps=4" if place == "query" else ""
    files = [("image", ("a.png", IMAGE))]
    if place == "form":
        files.append(("steps", (None, b"4")))  # type: ignore[arg-type]
    response = await tiny.client.post(f"{ATTACK}{query}", data=data, files=files)
    problem = assert_problem(response, 422, "invalid-request")
    assert problem["errors"] == [{"where": "form steps", "message": "It is given twice."}]


async def test_a_wrong_value_in_a_form_is_named_as_the_forms(tiny: Gateway) -> None:
    response = await tiny.client.post(ATTACK, files={"image": ("a.png", IMAGE)}, data={"top_k": "0"})
    assert assert_problem(response, 422, "invalid-request")["errors"][0]["where"] == "form top_k"


async def test_an_attack_is_on_one_image(tiny: Gateway) -> None:
    none = await tiny.client.post(ATTACK, files={"": ("", b"")}, data={"steps": "3"})
    assert_problem(none, 422, "no-images")
    several = [("image", ("a.png", IMAGE)), ("image", ("b.png", IMAGE))]
    problem = assert_problem(await tiny.client.post(ATTACK, files=several), 413, "too-many-images")
    assert problem["limit"] == 1
    assert_problem(await send_json(tiny, image=""), 422, "no-images")
    assert_problem(await tiny.client.post(ATTACK, json={}), 422, "invalid-request")


async def test_a_form_has_no_end_of_fields(tiny: Gateway) -> None:
    response = await tiny.client.post(
        ATTACK, files={"image": ("a.png", IMAGE)}, data={f"field{number}": "1" for number in range(65)}
    )
    assert "more than 64 fields" in assert_problem(response, 422, "invalid-request")["detail"]


@pytest.mark.parametrize(
    ("content", "media_type", "status", "kind"),
    [
        (IMAGE[:-20], "image/png", 422, "truncated-image"),
        (b"hello", "image/png", 422, "not-an-image"),
        (b"{", "application/json", 400, "malformed-body"),
        (b'{"image": "%%%"}', "application/json", 422, "bad-base64"),
        (IMAGE, "text/plain", 415, "unsupported-media-type"),
        (b"--x", "multipart/form-data; boundary=x", 400, "malformed-body"),
    ],
)
async def test_a_body_that_cannot_be_used_is_refused(
    tiny: Gateway, content: bytes, media_type: str, status: int, kind: str
) -> None:
    response = await tiny.client.post(ATTACK, content=content, headers={"Content-Type": media_type})
    assert_problem(response, status, kind)


async def test_a_model_that_is_not_there_is_not_attacked(tiny: Gateway) -> None:
    response = await tiny.client.post("/v1/models/nope/attack", content=IMAGE, headers=PNG)
    assert_problem(response, 404, "unknown-model")


async def test_a_loss_that_the_model_has_not_got_is_told(tiny: Gateway) -> None:
    response = await tiny.client.post(f"{ATTACK}?loss=so", content=IMAGE, headers=PNG)
    assert_problem(response, 422, "attack-not-applicable")


async def test_examples_of_bodies_are_carried_out(tiny: Gateway) -> None:
    description = (await tiny.client.get("/openapi.json")).json()
    body = description["paths"]["/v1/models/{model}/attack"]["post"]["requestBody"]
    examples = body["content"]["application/json"]["examples"]
    assert set(examples) == {"pgd", "targeted"}
    for example in examples.values():
        assert outcome(await tiny.client.post(ATTACK, json=example["value"]))["label"] == "red"


async def test_the_schema_of_the_body_has_the_parameters_of_every_attack(tiny: Gateway) -> None:
    schemas = (await tiny.client.get("/openapi.json")).json()["components"]["schemas"]
    variants = {
        variant["properties"]["attack"]["const"]: variant for variant in schemas["AttackBody"]["oneOf"]
    }
    assert set(variants) == set(catalogue())
    for name, attack in catalogue().items():
        reference = variants[name]["properties"]["parameters"]["$ref"]
        described = schemas[reference.removeprefix("#/components/schemas/")]
        assert set(described["properties"]) == set(attack.parameters.model_fields)


async def test_the_catalogue_lists_every_attack_with_its_schema_and_cost(tiny: Gateway) -> None:
    listed = (await tiny.client.get("/v1/attacks")).json()["attacks"]
    assert [entry["name"] for entry in listed] == list(catalogue())
    for entry in listed:
        assert entry["parameters"] == catalogue()[entry["name"]].parameters.model_json_schema()
        assert entry["passes"]["forwards"] >= 3
        assert entry["norms"]
    one = (await tiny.client.get("/v1/attacks/pgd")).json()
    assert one == next(entry for entry in listed if entry["name"] == "pgd")
    assert one["passes"] == {"forwards": 23, "backwards": 20, "classes": 10}
    assert (one["access"], one["targetable"], one["norms"]) == ("gradient", True, ["linf", "l2"])


async def test_an_attack_that_is_not_in_the_catalogue_is_not_found(tiny: Gateway) -> None:
    problem = assert_problem(await tiny.client.get("/v1/attacks/zap"), 404, "unknown-attack")
    assert problem["offered"] == list(catalogue())
