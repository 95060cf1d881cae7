"""The API's description is whole, true, and good enough to generate a client from."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel
from support.gateway import CLASSIFY, Gateway
from support.tiny import solid_png

from serving.gateway.attack.example import ANSWER
from serving.gateway.attack.schemas import AttackAnswer
from serving.gateway.examples import CLASSIFICATION, MODEL, PROBLEM, RED_PNG
from serving.gateway.problem_kinds import KINDS
from serving.gateway.schemas import Classification, ModelDetail, ProblemDocument

pytestmark = pytest.mark.anyio


@pytest.fixture
async def description(tiny: Gateway) -> dict[str, Any]:
    document: dict[str, Any] = (await tiny.client.get("/openapi.json")).json()
    return document


def walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from walk(value)


def operations(description: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        operation["operationId"]: operation
        for path, item in description["paths"].items()
        if not path.startswith("/v2")  # the Open Inference Protocol's have tests of their own
        for operation in item.values()
    }


async def test_operations_have_names_that_a_client_can_be_generated_with(description: dict[str, Any]) -> None:
    found = operations(description)
    assert {"classify", "get_model", "list_models", "livez", "metrics", "readyz", "reload"} <= set(found)
    assert all(name.isidentifier() and name.islower() for name in found)
    for operation in operations(description).values():
        assert operation["summary"]
        assert operation["description"]
        assert operation["tags"]


async def test_every_reference_leads_somewhere(description: dict[str, Any]) -> None:
    references = {node["$ref"] for node in walk(description) if isinstance(node.get("$ref"), str)}
    assert "#/components/schemas/ProblemDocument" in references
    for reference in references:
        target: Any = description
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
        assert target


async def test_every_answer_is_documented_with_its_headers(description: dict[str, Any]) -> None:
    for name, operation in operations(description).items():
        answered = {"metrics": "text/plain", "follow_job": "text/event-stream"}.get(name, "application/json")
        for status, response in operation["responses"].items():
            assert response["description"]
            assert "X-Request-Id" in response["headers"]
            if status == "304":
                assert "content" not in response
                continue
            assert ("Retry-After" in response["headers"]) == (status in ("429", "503"))
            assert ("WWW-Authenticate" in response["headers"]) == (status in ("401", "403"))
            succeeded = status.startswith("2")
            others = {"image/png", "application/zip"} if succeeded else set()
            if name.startswith("attack"):
                others |= {"text/event-stream"}
            assert set(response["content"]) - others == {
                answered if succeeded else "application/problem+json"
            }
    assert "HTTPValidationError" not in description["components"]["schemas"]


async def test_every_kind_of_problem_is_documented_where_it_can_occur(description: dict[str, Any]) -> None:
    documented = {
        name
        for operation in operations(description).values()
        for response in operation["responses"].values()
        for name in response.get("content", {}).get("application/problem+json", {}).get("examples", ())
    }
    assert {kind.name for kind in KINDS} - documented == {"not-found", "method-not-allowed"}


@pytest.mark.parametrize(
    ("model", "example"),
    [
        (Classification, CLASSIFICATION),
        (ModelDetail, MODEL),
        (AttackAnswer, ANSWER),
        (ProblemDocument, PROBLEM),
    ],
)
def test_example_is_what_its_schema_says(model: type[BaseModel], example: dict[str, Any]) -> None:
    found = model.model_validate_json(json.dumps(example)).model_dump(mode="json", by_alias=True)
    assert without_none(found) == without_none(example)


def without_none(node: Any) -> Any:
    if isinstance(node, dict):
        return {name: without_none(value) for name, value in node.items() if value is not None}
    return [without_none(value) for value in node] if isinstance(node, list) else node


async def test_examples_of_problems_are_what_their_schema_says(description: dict[str, Any]) -> None:
    examples = [
        example["value"]
        for operation in operations(description).values()
        for status, response in operation["responses"].items()
        if not status.startswith(("2", "3"))
        for example in response["content"]["application/problem+json"]["examples"].values()
    ]
    assert len(examples) > 30
    for example in examples:
        ProblemDocument.model_validate(example)


async def test_examples_of_bodies_are_classified(tiny: Gateway, description: dict[str, Any]) -> None:
    bodies = operations(description)["classify"]["requestBody"]["content"]
    assert list(bodies) == [
        "image/png",
        "image/jpeg",
        "image/webp",
        "multipart/form-data",
        "application/json",
    ]
    for example in bodies["application/json"]["examples"].values():
        answer = (await tiny.client.post(CLASSIFY, json=example["value"])).json()
        assert {prediction["label"] for prediction in answer["predictions"]} == {"red"}
    assert base64.b64decode(RED_PNG) == solid_png("red")


async def test_answers_have_exactly_the_members_that_are_documented(
    tiny: Gateway, description: dict[str, Any]
) -> None:
    schemas = description["components"]["schemas"]
    answer = (await tiny.classify(solid_png("red"))).json()
    assert set(answer) == set(schemas["Classification"]["properties"])
    assert set(answer["predictions"][0]) == set(schemas["ImagePrediction"]["properties"]) - {"manifold"}
    assert set(answer["timings"]) == set(schemas["RequestTimings"]["properties"])
    problem = (await tiny.classify(b"")).json()
    assert set(problem) == set(schemas["ProblemDocument"]["required"])
