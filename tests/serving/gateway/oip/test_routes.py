"""The Open Inference Protocol of the gateway, request by request."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from support.gateway import Gateway, gateway

from holdfast.oip.wire import HEADER_LENGTH, read, write

pytestmark = pytest.mark.anyio

INFER = "/v2/models/tiny/infer"
BYTES_PER_IMAGE = 4 * 3 * 8 * 8


def red_and_blue() -> NDArray[np.float32]:
    images = np.zeros((2, 3, 8, 8), dtype=np.float32)
    images[0, 0] = images[1, 2] = 1
    return images


def tensor(images: NDArray[Any] | None = None, **changes: Any) -> dict[str, Any]:
    images = red_and_blue() if images is None else images
    entry = {"name": "images", "datatype": "FP32", "shape": list(images.shape), "data": images.tolist()}
    return {name: value for name, value in (entry | changes).items() if value is not None}


async def infer(tiny: Gateway, **content: Any) -> httpx.Response:
    return await tiny.client.post(INFER, json={"inputs": [tensor()], **content})


async def infer_bytes(tiny: Gateway, images: NDArray[np.float32], **content: Any) -> httpx.Response:
    body, length = write(content, "inputs", {"images": images}, ["images"])
    return await tiny.client.post(INFER, content=body, headers={HEADER_LENGTH: str(length)})


def outputs(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    message = read(response.content, response.headers.get(HEADER_LENGTH))
    return {tensor.name: tensor.values().tolist() for tensor in message.tensors("outputs")}


def refusal(response: httpx.Response, status: int) -> str:
    """The words of an error, which is exactly what the protocol says that it is."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"]
    assert list(response.json()) == ["error"]
    words: str = response.json()["error"]
    assert words
    return words


async def test_json_in_gives_json_out(tiny: Gateway) -> None:
    response = await infer(tiny, id="mine")
    assert response.headers["content-type"] == "application/json"
    assert HEADER_LENGTH not in response.headers
    answer = response.json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("tiny", "1", "mine")
    assert answer["parameters"] == {"defence": "none"}
    found = outputs(response)
    assert found["logits"] == [[10, 0, 0], [0, 0, 10]]
    assert found["label"] == ["red", "blue"]
    np.testing.assert_allclose(np.sum(found["probabilities"], axis=1), 1, atol=1e-6)
    [logits, *_] = answer["outputs"]
    assert (logits["datatype"], logits["shape"]) == ("FP32", [2, 3])
    assert logits["data"] == [10, 0, 0, 0, 0, 10]


async def test_flat_data_are_the_same_as_nested(tiny: Gateway) -> None:
    flat = tensor(data=red_and_blue().ravel().tolist())
    response = await tiny.client.post(INFER, json={"inputs": [flat]})
    assert response.json() == (await infer(tiny)).json()


async def test_an_id_that_was_not_given_is_not_in_the_answer(tiny: Gateway) -> None:
    assert "id" not in (await infer(tiny)).json()


async def test_bytes_in_give_the_same_and_bytes_out_where_they_are_asked_for(tiny: Gateway) -> None:
    expected = outputs(await infer(tiny))
    as_json = await infer_bytes(tiny, red_and_blue())
    assert as_json.headers["content-type"] == "application/json"
    assert outputs(as_json) == expected
    as_bytes = await infer_bytes(tiny, red_and_blue(), parameters={"binary_data_output": True})
    assert as_bytes.headers["content-type"] == "application/octet-stream"
    assert 0 < int(as_bytes.headers[HEADER_LENGTH]) < len(as_bytes.content)
    assert outputs(as_bytes) == expected


async def test_an_output_overrides_what_all_outputs_are_to_be(tiny: Gateway) -> None:
    wanted = [{"name": "label"}, {"name": "logits", "parameters": {"binary_data": True}}]
    response = await infer(tiny, outputs=wanted)
    header = json.loads(response.content[: int(response.headers[HEADER_LENGTH])])
    label, logits = header["outputs"]
    assert (label["name"], label["data"]) == ("label", ["red", "blue"])
    assert (logits["name"], logits["parameters"]) == ("logits", {"binary_data_size": 24})
    assert "data" not in logits
    wanted[1]["parameters"] = {"binary_data": False}
    response = await infer(tiny, outputs=wanted[1:], parameters={"binary_data_output": True})
    assert HEADER_LENGTH not in response.headers
    assert outputs(response) == {"logits": [[10, 0, 0], [0, 0, 10]]}


async def test_nothing_but_the_bytes_of_images_is_a_request_too(tiny: Gateway) -> None:
    bare = red_and_blue().tobytes()
    response = await tiny.client.post(INFER, content=bare, headers={HEADER_LENGTH: "0"})
    assert response.headers["content-type"] == "application/octet-stream"
    assert outputs(response)["label"] == ["red", "blue"]
    for body in (b"", bare[:-1]):
        response = await tiny.client.post(INFER, content=body, headers={HEADER_LENGTH: "0"})
        assert f"images of {BYTES_PER_IMAGE} bytes each" in refusal(response, 400)


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_the_content_type_is_not_looked_at(tiny: Gateway, content_type: str | None) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    content = json.dumps({"inputs": [tensor()]}).encode()
    assert outputs(await tiny.client.post(INFER, content=content, headers=headers))["label"][0] == "red"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "image"}, "one tensor, 'images'"),
        ({"datatype": "UINT8"}, "Divide pixels of 0 to 255 by 255"),
        ({"datatype": "FP16"}, "is to be FP32"),
        ({"datatype": "FP64"}, "is to be FP32"),
        ({"shape": [3, 8, 8], "data": [0.0] * 192}, "the shape [-1, 3, 8, 8], and has [3, 8, 8]"),
        ({"shape": [2, 8, 8, 3]}, "and has [2, 8, 8, 3]"),
        ({"shape": [0, 3, 8, 8], "data": []}, "and has [0, 3, 8, 8]"),
        ({"data": [0.0] * 383}, "neither nested"),
        ({"data": [0.0] * 383 + [1.1]}, "run from 0 to 1.1"),
        ({"data": [-0.1] + [0.0] * 383}, "images are in [0, 1]"),
        ({"data": ["0"] * 384}, "not all of FP32"),
        ({"data": None}, "neither data"),
        ({"data": None, "parameters": {"shared_memory_region": "r"}}, "shared memory"),
    ],
)
async def test_an_input_that_is_no_image_of_this_model_is_refused(
    tiny: Gateway, changes: dict[str, Any], said: str
) -> None:
    response = await tiny.client.post(INFER, json={"inputs": [tensor(**changes)]})
    assert said in refusal(response, 400)


async def test_two_inputs_and_none_are_refused(tiny: Gateway) -> None:
    for inputs in ([], [tensor(), tensor()]):
        assert "one tensor, 'images'" in refusal(await infer(tiny, inputs=inputs), 400)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
async def test_what_is_no_finite_number_is_refused(tiny: Gateway, value: float) -> None:
    images = red_and_blue()
    images[1, 2, 3, 4] = value
    assert "images are in [0, 1]" in refusal(await infer_bytes(tiny, images), 400)
    content = json.dumps({"inputs": [tensor(images)]})  # Python's json writes NaN and Infinity
    assert "images are in [0, 1]" in refusal(await tiny.client.post(INFER, content=content), 400)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"id": 7}, "'id'"),
        ({"parameters": []}, None),
        ({"parameters": "x"}, "'parameters' is to be an object"),
        ({"parameters": {"defence": 1}}, "'defence' are to be strings"),
        ({"parameters": {"binary_data_output": "yes"}}, "'binary_data_output' is to be true or false"),
        ({"outputs": {}}, "'outputs' is to be a list"),
        ({"outputs": [{"name": "odds"}]}, "it has logits, probabilities, label"),
        ({"outputs": [{"name": ["logits"]}]}, "no output of this model"),
        ({"outputs": [7]}, "no output of this model"),
        ({"outputs": [{"name": "label"}, {"name": "label"}]}, "a second time"),
        ({"outputs": [{"name": "label", "parameters": {"classification": 3}}]}, "one parameter"),
        ({"outputs": [{"name": "label", "parameters": {"binary_data": 1}}]}, "true or false"),
    ],
)
async def test_what_is_asked_for_must_make_sense(
    tiny: Gateway, content: dict[str, Any], said: str | None
) -> None:
    response = await infer(tiny, **content)
    if said is None:
        assert response.status_code == 200
    else:
        assert said in refusal(response, 400)


async def test_parameters_that_clients_add_of_their_own_are_passed_over(tiny: Gateway) -> None:
    given = tensor(parameters={"content_type": "np"})
    response = await infer(tiny, inputs=[given], parameters={"content_type": "np", "priority": 1})
    assert outputs(response)["label"] == ["red", "blue"]


async def test_a_defence_that_is_not_offered_is_refused_with_those_that_are(tiny: Gateway) -> None:
    words = refusal(await infer(tiny, parameters={"defence": "imt"}), 400)
    assert "It offers: none." in words
    assert outputs(await infer(tiny, parameters={"defence": "default"}))["label"] == ["red", "blue"]


async def test_models_and_versions_that_are_not_there_are_404(tiny: Gateway) -> None:
    for path, said in (
        ("/v2/models/cat", "no model 'cat'"),
        ("/v2/models/cat/ready", "no model 'cat'"),
        ("/v2/models/tiny/versions/9", "no version '9'"),
        ("/v2/models/tiny/versions/9/ready", "no version '9'"),
        ("/v2/nothing", "nothing at /v2/nothing"),
    ):
        assert said in refusal(await tiny.client.get(path), 404)
    for path in ("/v2/models/cat/infer", "/v2/models/tiny/versions/9/infer"):
        refusal(await tiny.client.post(path, json={"inputs": [tensor()]}), 404)
    for path in ("load", "unload"):
        refusal(await tiny.client.post(f"/v2/repository/models/tiny/{path}"), 404)
    refusal(await tiny.client.get(INFER), 405)
    response = await tiny.client.post("/v2/models/tiny/versions/1/infer", json={"inputs": [tensor()]})
    assert outputs(response)["label"] == ["red", "blue"]


async def test_the_server_and_its_models_say_what_they_are(tiny: Gateway) -> None:
    server = (await tiny.client.get("/v2")).json()
    assert server["name"] == "holdfast"
    assert server["extensions"] == ["binary_tensor_data", "holdfast_defence"]
    model = (await tiny.client.get("/v2/models/tiny")).json()
    assert model == (await tiny.client.get("/v2/models/tiny/versions/1")).json()
    assert (model["name"], model["versions"], model["platform"]) == ("tiny", ["1"], "onnx_onnxv1")
    assert model["inputs"] == [{"name": "images", "datatype": "FP32", "shape": [-1, 3, 8, 8]}]
    assert model["outputs"] == [
        {"name": "logits", "datatype": "FP32", "shape": [-1, 3]},
        {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
        {"name": "label", "datatype": "BYTES", "shape": [-1]},
    ]
    assert json.loads(model["parameters"]["classes"]) == ["red", "green", "blue"]
    assert all(isinstance(value, str) for value in model["parameters"].values())


async def test_metadata_is_true_of_every_output(tiny: Gateway) -> None:
    described = (await tiny.client.get("/v2/models/tiny")).json()["outputs"]
    given = (await infer(tiny)).json()["outputs"]
    assert [(o["name"], o["datatype"]) for o in given] == [(o["name"], o["datatype"]) for o in described]
    for one, other in zip(given, described, strict=True):
        assert one["shape"] == [2, *other["shape"][1:]]


async def test_it_is_live_and_ready_and_lists_its_repository(tiny: Gateway) -> None:
    for path, answer in (
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/tiny/ready", {"name": "tiny", "ready": True}),
        ("/v2/models/tiny/versions/1/ready", {"name": "tiny", "ready": True}),
    ):
        response = await tiny.client.get(path)
        assert (response.status_code, response.json()) == (200, answer)
    for content in (b"", b"{}", b'{"ready": true}'):
        listed = (await tiny.client.post("/v2/repository/index", content=content)).json()
        assert listed == [{"name": "tiny", "version": "1", "state": "READY", "reason": ""}]


async def test_an_index_that_is_asked_for_in_other_words_is_refused(tiny: Gateway) -> None:
    for content in (b"[]", b'{"ready": "x"}', b"{", b" " * 10_000):
        response = await tiny.client.post("/v2/repository/index", content=content)
        refusal(response, 413 if len(content) > 1000 else 400)


async def test_while_it_drains_it_is_live_and_not_ready_and_still_answers(tiny: Gateway) -> None:
    tiny.services.lifecycle.drain()
    assert (await tiny.client.get("/v2/health/live")).status_code == 200
    for path in ("/v2/health/ready", "/v2/models/tiny/ready"):
        response = await tiny.client.get(path)
        assert "shutting down" in refusal(response, 503)
        assert int(response.headers["retry-after"]) >= 1
    assert (await tiny.client.post("/v2/repository/index", content=b'{"ready": true}')).json() == []
    [entry] = (await tiny.client.post("/v2/repository/index")).json()
    assert entry["state"] == "UNAVAILABLE"
    assert "shutting down" in entry["reason"]
    assert outputs(await infer(tiny))["label"] == ["red", "blue"]


@pytest.fixture
async def narrow(tiny_store: Any, anyio_backend: str) -> AsyncIterator[Gateway]:
    """A gateway that takes two images, and 8 KiB, at a time."""
    async with gateway(tiny_store, max_images=2, max_body_bytes=8192) as started:
        yield started


async def test_more_images_bytes_or_values_than_are_taken_are_413(narrow: Gateway) -> None:
    three = np.zeros((3, 3, 8, 8), dtype=np.float32)
    assert "3 images, more than the 2" in refusal(await infer_bytes(narrow, three), 413)
    few_bytes = tensor(three, data=[0] * three.size)
    assert "3 images" in refusal(await infer(narrow, inputs=[few_bytes]), 413)
    assert "more than the 8192 bytes" in refusal(await infer(narrow, inputs=[tensor(three + 0.123456)]), 413)
    content = b'{"inputs": [' + b"0," * 3000 + b"0]}"
    words = refusal(await narrow.client.post(INFER, content=content), 413)
    assert "values that are taken" in words
    assert "binary_data_size" in words
    assert outputs(await infer_bytes(narrow, red_and_blue()))["label"] == ["red", "blue"]


async def test_two_images_that_fit_as_bytes_fit_as_json(narrow: Gateway) -> None:
    assert outputs(await infer(narrow))["label"] == ["red", "blue"]


async def test_a_body_larger_than_a_thread_is_worth_is_read_in_one(tiny: Gateway) -> None:
    images = np.random.default_rng(0).uniform(0, 1, (60, 3, 8, 8)).astype(np.float32)
    found = outputs(await infer(tiny, inputs=[tensor(images)]))
    np.testing.assert_allclose(found["logits"], 10 * images.mean(axis=(2, 3)), atol=1e-4)
    as_bytes = outputs(await infer_bytes(tiny, images))
    np.testing.assert_allclose(found["logits"], as_bytes["logits"], atol=1e-5)


async def test_what_it_does_not_take_at_once_is_503_and_says_when_to_come_back(tiny_store: Any) -> None:
    async with gateway(tiny_store, max_requests=1) as busy:
        with busy.services.admission.enter():
            response = await infer(busy)
        refusal(response, 503)
        assert int(response.headers["retry-after"]) >= 1
        assert (await infer(busy)).status_code == 200
        assert busy.services.admission.held == 0


async def test_the_request_keeps_its_id(tiny: Gateway) -> None:
    response = await tiny.client.get("/v2/models/cat", headers={"X-Request-Id": "abc-1"})
    assert response.headers["x-request-id"] == "abc-1"


async def test_errors_elsewhere_are_still_problem_documents(tiny: Gateway) -> None:
    for path in ("/v2x", "/v1/models/cat"):
        response = await tiny.client.get(path)
        assert response.headers["content-type"] == "application/problem+json"
