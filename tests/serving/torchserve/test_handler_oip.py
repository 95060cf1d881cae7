"""Requests of the Open Inference Protocol in the handler, among others in one batch."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from support.digits import digit_pngs, digits

from holdfast import npy
from holdfast.archive import unpack
from holdfast.bundle import ModelStore
from holdfast.oip.wire import HEADER_LENGTH, read, write
from serving.torchserve.handler import HoldfastHandler

with warnings.catch_warnings():
    warnings.simplefilter("ignore", ResourceWarning)  # TorchServe leaves the file with its version open
    from ts.context import Context, RequestProcessor


@pytest.fixture(scope="module")
def directory(digits_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from training.archive import archive

    target = tmp_path_factory.mktemp("model")
    bundle = ModelStore(digits_store).open("digits")
    unpack(archive(bundle, tmp_path_factory.mktemp("archive")), target)
    return target


@pytest.fixture(scope="module")
def loaded(directory: Path) -> HoldfastHandler:
    made = HoldfastHandler()
    made.initialize(context(directory))
    return made


def context(directory: Path, headers: list[dict[str, str]] | None = None) -> Context:
    headers = headers or []
    made = Context("digits", str(directory), {}, 16, None, "0.12.0")
    made.request_ids = {index: f"id-{index}" for index in range(len(headers))}
    made.request_processor = [RequestProcessor({"explain": "False", **each}) for each in headers]
    return made


def ask(
    loaded: HoldfastHandler, directory: Path, *requests: tuple[bytes, dict[str, str]]
) -> list[tuple[int, dict[str, str], bytes]]:
    """Each request's status, headers and answer, all in one batch."""
    asked = context(directory, [headers for _, headers in requests])
    answers = loaded.handle([{"body": bytearray(body)} for body, _ in requests], asked)
    return [
        (
            asked.get_response_status(index)[0],
            asked.get_response_headers(index),
            answer if isinstance(answer, bytes) else answer.encode(),
        )
        for index, answer in enumerate(answers)
    ]


def inference(images: NDArray[np.float32], **content: Any) -> tuple[bytes, dict[str, str]]:
    return write(content, "inputs", {"images": images})[0], {}


def test_json_is_answered_as_the_array_is(loaded: HoldfastHandler, directory: Path) -> None:
    images = digits()[0][:3]
    array, protocol, image = ask(
        loaded, directory, (npy.encode(images), {}), inference(images, id="mine"), (digit_pngs(1)[0], {})
    )
    assert [array[0], protocol[0], image[0]] == [200, 200, 200]
    content = json.loads(protocol[2])
    assert (content["model_name"], content["model_version"], content["id"]) == ("digits", "1", "mine")
    found = {tensor.name: tensor.values() for tensor in read(protocol[2], None).tensors("outputs")}
    np.testing.assert_allclose(found["logits"], json.loads(array[2])["logits"], atol=1e-5)
    classes = loaded.manifest.classes
    assert found["label"].tolist() == [classes[best] for best in found["logits"].argmax(axis=1)]


def test_bytes_are_answered_with_bytes(loaded: HoldfastHandler, directory: Path) -> None:
    images = digits()[0][:3]
    wanted = {"outputs": [{"name": "logits", "parameters": {"binary_data": True}}]}
    body, length = write(wanted, "inputs", {"images": images}, ["images"])
    ((status, headers, answer),) = ask(loaded, directory, (body, {HEADER_LENGTH: str(length)}))
    assert status == 200
    assert headers["content-type"] == "application/octet-stream"
    [logits] = read(answer, headers[HEADER_LENGTH]).tensors("outputs")
    ((_, _, as_json),) = ask(loaded, directory, inference(images, outputs=[{"name": "logits"}]))
    [expected] = read(as_json, None).tensors("outputs")
    np.testing.assert_allclose(logits.values(), expected.values(), atol=1e-5)


def test_one_that_cannot_be_used_is_answered_in_the_protocols_words_and_alone(
    loaded: HoldfastHandler, directory: Path
) -> None:
    images = digits()[0][:1]
    answers = ask(
        loaded,
        directory,
        inference(images),
        inference(images + 1),
        inference(images, parameters={"defence": "imt"}),
        inference(np.zeros((1, 3, 8, 8), dtype=np.float32)),
        (b'{"inputs": [', {}),
        (b"", {HEADER_LENGTH: "12"}),
        inference(np.zeros((1025, 1, 8, 8), dtype=np.float32)),
        (b"no image", {}),
    )
    assert [status for status, _, _ in answers] == [200, 400, 400, 400, 400, 400, 413, 422]
    for _, headers, answer in answers[1:-1]:
        assert headers["content-type"] == "application/json"
        assert list(json.loads(answer)) == ["error"]
    assert answers[-1][1]["content-type"] == "application/problem+json"
