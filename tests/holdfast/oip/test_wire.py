"""Messages of the Open Inference Protocol: what is written is read, and what is damaged is refused."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from holdfast.oip.wire import (
    DATATYPES,
    Message,
    ProtocolError,
    TooManyValuesError,
    count_values,
    datatype_of,
    read,
    write,
)

NUMBERS = {name: np.dtype(dtype) for name, dtype in DATATYPES.items() if name != "BYTES"}


def message(**tensor: object) -> bytes:
    return json.dumps({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], **tensor}]}).encode()


def refusal(body: bytes, header_length: str | None = None) -> str:
    with pytest.raises(ProtocolError) as caught:
        read_all(body, header_length)
    return caught.value.message


def read_all(body: bytes, header_length: str | None) -> None:
    for tensor in read(body, header_length).tensors("inputs"):
        tensor.values()


@given(st.data())
def test_every_datatype_comes_back_as_it_went_as_json_and_as_bytes(data: st.DataObject) -> None:
    tensors = {}
    for index in range(data.draw(st.integers(1, 3))):
        name = data.draw(st.sampled_from(sorted(NUMBERS)))
        elements = {"allow_nan": False, "allow_infinity": False} if name.startswith("FP") else {}
        shapes = array_shapes(min_dims=1, max_dims=3, min_side=0, max_side=3)
        tensors[f"t{index}"] = data.draw(arrays(NUMBERS[name], shapes, elements=elements or None))
    binary = data.draw(st.sets(st.sampled_from(sorted(tensors))))
    body, length = write({"id": "é"}, "outputs", tensors, binary)
    assert (length is None) == (not binary)
    found = read(body, None if length is None else str(length))
    assert found.content is not None
    assert found.content["id"] == "é"
    for tensor, (name, array) in zip(found.tensors("outputs"), tensors.items(), strict=True):
        assert (tensor.name, tensor.datatype) == (name, datatype_of(array))
        assert tensor.values().dtype == array.dtype
        np.testing.assert_array_equal(tensor.values(), array)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=5), st.booleans())
def test_strings_come_back_as_they_went(texts: list[str], binary: bool) -> None:
    array = np.array(texts, dtype=object)
    body, length = write({}, "outputs", {"label": array}, ["label"] if binary else [])
    [tensor] = read(body, None if length is None else str(length)).tensors("outputs")
    assert tensor.datatype == "BYTES"
    assert tensor.values().tolist() == texts


def test_bytes_lie_behind_the_json_little_endian_and_in_the_order_of_the_tensors() -> None:
    tensors = {"a": np.array([1], dtype="i4"), "b": np.array([[0.5]], dtype="f4"), "c": np.array(["hé"])}
    body, length = write({}, "outputs", tensors, "abc")
    assert length is not None
    assert body[length:] == b"\x01\x00\x00\x00" + b"\x00\x00\x00\x3f" + b"\x03\x00\x00\x00h\xc3\xa9"
    sizes = [entry["parameters"]["binary_data_size"] for entry in json.loads(body[:length])["outputs"]]
    assert sizes == [4, 4, 7]


@pytest.mark.parametrize("data", [[[1, 2], [3, 4]], [1, 2, 3, 4], [[1.0, 2.0], [3.0, 4.0]]])
def test_nested_and_flat_data_are_the_same_tensor(data: object) -> None:
    [tensor] = read(message(shape=[2, 2], data=data), None).tensors("inputs")
    np.testing.assert_array_equal(tensor.values(), np.array([[1, 2], [3, 4]], dtype=np.float32))


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        ({"data": [1, 2, 3]}, "neither nested lists of shape [2] nor one flat list of 2 values"),
        ({"data": [[1, 2]]}, "neither nested"),
        ({"data": [[1], [2]]}, "not all of FP32"),
        ({"shape": [2, 2], "data": [[1, 2], [3]]}, "neither nested"),
        ({"shape": [2, 2], "data": [[1, 2], 3, 4]}, "neither nested"),
        ({"data": "12"}, "are to be a list"),
        ({"data": ["1", "2"]}, "not all of FP32"),
        ({"data": [True, 0.5]}, "not all of FP32"),
        ({"data": [None, 0.5]}, "not all of FP32"),
        ({"datatype": "INT8", "data": [1, 0.5]}, "not all of INT8"),
        ({"datatype": "INT8", "data": [1, 300]}, "too large for INT8"),
        ({"datatype": "BOOL", "data": [1, 0]}, "not all of BOOL"),
        ({"datatype": "BYTES", "data": ["a", 1]}, "not all of BYTES"),
        ({"data": [10**400, 1]}, "too large for FP32"),
        ({"datatype": "FP8", "data": [1, 2]}, "datatype is 'FP8'"),
        ({"datatype": None, "data": [1, 2]}, "datatype is missing"),
        ({"shape": "2", "data": [1, 2]}, "shape is to be a list"),
        ({"shape": [-1], "data": [1, 2]}, "shape is to be a list"),
        ({"shape": [True], "data": [1]}, "shape is to be a list"),
        ({"shape": [1] * 9, "data": [1]}, "shape is to be a list of 1 to 8"),
        ({"shape": [2**40], "data": [1]}, "shape is to be a list"),
        ({}, "neither data nor the parameter binary_data_size"),
        ({"name": 7, "data": [1, 2]}, "is to have a name"),
        ({"parameters": [1], "data": [1, 2]}, "parameters that are an object"),
        ({"parameters": {"binary_data_size": 8}}, "0 bytes are left for it"),
        ({"parameters": {"binary_data_size": "8"}}, "0 bytes are left for it"),
        ({"parameters": {"binary_data_size": -1}}, "0 bytes are left for it"),
        ({"parameters": {"binary_data_size": 0}, "data": [1, 2]}, "as well"),
        ({"parameters": {"shared_memory_region": "r"}}, "shared memory"),
    ],
)
def test_a_tensor_that_is_none_is_refused_with_what_is_wrong(tensor: dict[str, object], said: str) -> None:
    assert said in refusal(message(**tensor))


@pytest.mark.parametrize(
    ("body", "header_length", "said"),
    [
        (b"", None, "not JSON"),
        (b"[]", None, "a JSON object"),
        (b'{"inputs": {}}', None, "'inputs' is to be a list"),
        (b"{}", None, "'inputs' is to be a list"),
        (b'{"inputs": [1]}', None, "inputs[0] is to be a tensor"),
        (b'{"inputs": []}xyz', "14", "3 bytes follow the JSON, of which the tensors claim 0"),
        (b'{"inputs": []}', "15", "is 15, and the body has 14 bytes"),
        (b"{}", "-1", "not a number of bytes"),
        (b"{}", "\u0662", "not a number of bytes"),
        (b"{}", "9" * 4301, "not a number of bytes"),
        (b"[" * 100_000, None, "recursion limit"),
        (b'{"a":' * 100_000, None, "recursion limit"),
        (b'{"inputs": [' + b"9" * 5000 + b"]}", None, "not JSON"),
        (b'\xff\xfe{"inputs": []}', None, "not JSON"),
    ],
)
def test_a_body_that_is_no_message_is_refused(body: bytes, header_length: str | None, said: str) -> None:
    assert said in refusal(body, header_length)


def test_bytes_of_another_length_than_the_shape_says_are_refused() -> None:
    header = message(parameters={"binary_data_size": 7})
    assert "has 8 bytes; its binary_data_size is 7" in refusal(header + b"x" * 7, str(len(header)))
    for tail, said in (
        (b"\x05\x00\x00\x00abc", "break off"),
        (b"\x05\x00", "break off"),
        (b"\x01\x00\x00\x00a", "has 1 strings, not 2"),
    ):
        header = message(datatype="BYTES", parameters={"binary_data_size": len(tail)})
        assert said in refusal(header + tail, str(len(header)))


def test_more_values_than_are_taken_are_refused_before_any_is_read() -> None:
    body = b'{"inputs": [' + b"0," * 1000  # not even JSON: nobody looked
    with pytest.raises(TooManyValuesError, match="more than the 1000 values"):
        read(body, None, max_values=1000)
    assert count_values(b'{"data": [1, 2, 3]}') == 3


def test_bytes_are_not_copied_and_cannot_be_written_to() -> None:
    header = message(parameters={"binary_data_size": 8})
    body = header + np.array([1, 2], dtype="<f4").tobytes()
    [tensor] = read(body, str(len(header))).tensors("inputs")
    assert not tensor.values().flags.writeable
    assert not tensor.values().flags.owndata


def test_a_header_length_of_nothing_means_bytes_alone() -> None:
    assert read(b"abc", "0") == Message(None, memoryview(b"abc"))
