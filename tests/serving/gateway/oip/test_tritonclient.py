"""The Open Inference Protocol as Triton's own Python client speaks it, over a socket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from support.gateway_process import running_gateway
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException


@pytest.fixture(scope="module")
def client(tiny_store: Path) -> Iterator[InferenceServerClient]:
    with running_gateway(tiny_store, HOLDFAST_MAX_IMAGES="64") as url:
        client = InferenceServerClient(url.removeprefix("http://"))
        yield client
        client.close()


def colours(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(0, 1, (count, 3, 8, 8)).astype(np.float32)


def given(images: NDArray[np.float32], *, binary: bool) -> list[InferInput]:
    tensor = InferInput("images", list(images.shape), "FP32")
    tensor.set_data_from_numpy(images, binary_data=binary)
    return [tensor]


def check(result: InferResult, images: NDArray[np.float32]) -> None:
    means = images.mean(axis=(2, 3))
    np.testing.assert_allclose(result.as_numpy("logits"), 10 * means, atol=1e-4)
    assert [str(label) for label in text(result.as_numpy("label"))] == [
        ["red", "green", "blue"][best] for best in means.argmax(axis=1)
    ]


def text(array: NDArray[np.object_]) -> list[str]:
    return [value.decode() if isinstance(value, bytes) else value for value in array.tolist()]


def test_it_finds_the_server_and_its_model(client: InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny", "1")
    assert not client.is_model_ready("cat")
    assert not client.is_model_ready("tiny", "9")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata("tiny", "1")
    assert metadata["inputs"][0]["shape"] == [-1, 3, 8, 8]
    assert [entry["name"] for entry in client.get_model_repository_index()] == ["tiny"]


@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("count", [1, 7, 64])
def test_it_sends_images_as_bytes_and_as_json_and_gets_all_outputs(
    client: InferenceServerClient, binary: bool, count: int
) -> None:
    images = colours(count)
    result = client.infer("tiny", given(images, binary=binary), request_id="mine")
    check(result, images)
    assert result.get_response()["id"] == "mine"
    assert result.get_response()["model_version"] == "1"


def test_it_names_outputs_and_how_they_are_to_come(client: InferenceServerClient) -> None:
    images = colours(3)
    outputs = [
        InferRequestedOutput("label", binary_data=True),
        InferRequestedOutput("logits", binary_data=False),
    ]
    result = client.infer("tiny", given(images, binary=True), "1", outputs=outputs)
    check(result, images)
    assert result.as_numpy("probabilities") is None
    assert "binary_data_size" not in result.get_output("logits").get("parameters", {})


def test_it_passes_parameters_on(client: InferenceServerClient) -> None:
    result = client.infer("tiny", given(colours(1), binary=True), parameters={"defence": "none"})
    assert result.get_response()["parameters"] == {"defence": "none"}
    with pytest.raises(InferenceServerException, match="does not offer the defence 'imt'") as caught:
        client.infer("tiny", given(colours(1), binary=True), parameters={"defence": "imt"})
    assert caught.value.status() == "400"


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_it_may_compress_what_it_sends(client: InferenceServerClient, algorithm: str) -> None:
    images = colours(5)
    tensors = given(images, binary=True)
    check(client.infer("tiny", tensors, request_compression_algorithm=algorithm), images)


def test_it_understands_the_errors(client: InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="no model 'cat'") as caught:
        client.infer("cat", given(colours(1), binary=True))
    assert caught.value.status() == "404"
    with pytest.raises(InferenceServerException, match="65 images, more than the 64"):
        client.infer("tiny", given(colours(65), binary=True))
    with pytest.raises(InferenceServerException, match="is to have the shape"):
        client.infer("tiny", given(colours(1)[:, :, :4], binary=True))
    with pytest.raises(InferenceServerException, match="There is nothing at"):
        client.load_model("tiny")


def test_many_requests_at_once_are_each_answered_with_their_own(tiny_store: Path) -> None:
    with running_gateway(tiny_store) as url:
        client = InferenceServerClient(url.removeprefix("http://"), concurrency=8)
        sent = [colours(count) for count in range(1, 33)]
        waiting = [client.async_infer("tiny", given(images, binary=True)) for images in sent]
        for images, answer in zip(sent, waiting, strict=True):
            check(answer.get_result(), images)
        client.close()
