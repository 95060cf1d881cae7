"""The description of ``/v2``: whole, true, and in the protocol's own words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.gateway import Gateway

from holdfast.oip.wire import HEADER_LENGTH
from serving.gateway.oip.schemas import ErrorDocument, InferRequest, InferResponse

pytestmark = pytest.mark.anyio

#: What is answered to who sends no HTTP, or too much of it: nobody has looked at the address then.
BEFORE_ANY_ROUTE = {"400", "408", "414", "431"}


@pytest.fixture
async def operations(tiny: Gateway) -> dict[str, dict[str, Any]]:
    description = (await tiny.client.get("/openapi.json")).json()
    return {
        operation["operationId"]: operation
        for path, item in description["paths"].items()
        if path.startswith("/v2")
        for operation in item.values()
    }


async def test_every_operation_of_the_protocol_is_there(operations: dict[str, Any]) -> None:
    assert sorted(operations) == [
        "v2_infer",
        "v2_infer_with_version",
        "v2_live",
        "v2_model",
        "v2_model_ready",
        "v2_model_version",
        "v2_model_version_ready",
        "v2_ready",
        "v2_repository_index",
        "v2_server",
    ]
    for operation in operations.values():
        assert operation["summary"]
        assert operation["description"]


async def test_every_error_is_documented_as_the_protocol_words_it(operations: dict[str, Any]) -> None:
    for operation in operations.values():
        for status, response in operation["responses"].items():
            assert response["description"]
            assert "X-Request-Id" in response["headers"]
            assert ("Retry-After" in response["headers"]) == (status in ("429", "503"))
            if status == "200":
                continue
            if "application/json" not in response["content"]:
                assert status in BEFORE_ANY_ROUTE
                continue
            content = response["content"]["application/json"]
            assert content["schema"] == {"$ref": "#/components/schemas/ErrorDocument"}
            for example in content["examples"].values():
                ErrorDocument.model_validate(example["value"])
    assert "422" not in operations["v2_infer"]["responses"]
    statuses = {"200", "400", "401", "403", "404", "408", "413", "429", "500", "503", "504"}
    assert set(operations["v2_infer"]["responses"]) >= statuses


async def test_an_inference_is_documented_as_json_and_as_bytes(operations: dict[str, Any]) -> None:
    for name in ("v2_infer", "v2_infer_with_version"):
        operation = operations[name]
        both = ["application/json", "application/octet-stream"]
        assert list(operation["requestBody"]["content"]) == both
        assert list(operation["responses"]["200"]["content"]) == both
        assert HEADER_LENGTH in operation["responses"]["200"]["headers"]
        assert HEADER_LENGTH in [parameter["name"] for parameter in operation["parameters"]]


async def test_the_example_of_an_inference_is_answered_as_its_schema_says(tiny: Gateway) -> None:
    [example] = InferRequest.model_json_schema()["examples"]
    response = await tiny.client.post("/v2/models/tiny/infer", content=json.dumps(example))
    answer = InferResponse.model_validate_json(response.content)
    assert set(response.json()) == set(InferResponse.model_fields)
    assert answer.id == example["id"]
    assert [output.name for output in answer.outputs] == [output["name"] for output in example["outputs"]]
    assert answer.outputs[0].data == ["red"]
