"""Messages of named tensors: JSON alone, or JSON with tensors as bytes behind it.

    HoldfastError
    └── ProtocolError           the message does not follow the protocol
        └── TooManyValuesError  its JSON holds more values than are taken

A message comes from anybody: how many values its JSON has is known before any is read, nesting and numbers
are bounded by the parser, and a tensor is converted only when it is asked for, after its shape was looked at.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json, to_json

from holdfast.errors import HoldfastError

#: The header that says how many bytes of a body are JSON; what follows them are tensors.
HEADER_LENGTH = "Inference-Header-Content-Length"
#: What a server's metadata calls the extension that the header belongs to.
BINARY_EXTENSION = "binary_tensor_data"
JSON_TYPE = "application/json"
BINARY_TYPE = "application/octet-stream"

#: The protocol's datatypes as numpy's, little-endian; BYTES are strings.
DATATYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BYTES": "O",
}

#: Far above what any tensor here has, and small enough to multiply.
_MAX_DIMENSIONS, _MAX_SIDE = 8, 2**31

Array = NDArray[Any]


class ProtocolError(HoldfastError):
    """The message does not follow the protocol; the message says where."""


class TooManyValuesError(ProtocolError):
    """The message's JSON holds more values than are taken."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of a message, whose values are not read yet.

    Attributes:
        name: Its name.
        datatype: One of :data:`DATATYPES`.
        shape: Its sides; at least one.
        parameters: What its sender says about it.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: Mapping[str, Any]
    _content: Any

    def values(self) -> Array:
        """Its values in its shape; read-only where they lie in the message.

        Raises:
            ProtocolError: There are too few or too many, or they are not of its datatype.
        """
        if isinstance(self._content, memoryview):
            return self._from_bytes(self._content)
        return self._from_json(self._content)

    def _from_bytes(self, content: memoryview) -> Array:
        if self.datatype == "BYTES":
            strings = list(_strings(content, self.name))
            if len(strings) != math.prod(self.shape):
                raise ProtocolError(
                    f"The tensor '{self.name}' has {len(strings)} strings, not {math.prod(self.shape)}."
                )
            return np.array(strings, dtype=object).reshape(self.shape)
        dtype = np.dtype(DATATYPES[self.datatype])
        wanted = math.prod(self.shape) * dtype.itemsize
        if len(content) != wanted:
            raise ProtocolError(
                f"The tensor '{self.name}' of shape {list(self.shape)} and datatype {self.datatype} has "
                f"{wanted} bytes; its binary_data_size is {len(content)}."
            )
        return np.frombuffer(content, dtype=dtype).reshape(self.shape)

    def _from_json(self, content: Any) -> Array:
        flat = _flatten(content, self.shape, self.name)
        kinds = set(map(type, flat))
        allowed: set[type] = {str} if self.datatype == "BYTES" else {bool}
        if self.datatype not in ("BYTES", "BOOL"):
            allowed = {int, float} if self.datatype.startswith("FP") else {int}
        if not kinds <= allowed:
            raise ProtocolError(f"The data of the tensor '{self.name}' are not all of {self.datatype}.")
        try:
            with np.errstate(over="ignore"):  # what is too large becomes infinite, which its reader refuses
                return np.array(flat, dtype=DATATYPES[self.datatype]).reshape(self.shape)
        except OverflowError:
            raise ProtocolError(
                f"A number in the tensor '{self.name}' is too large for {self.datatype}."
            ) from None


@dataclass(frozen=True)
class Message:
    """A message that was taken apart.

    Attributes:
        content: Its JSON, without its tensors; ``None`` for a body that is one tensor's bytes and no JSON.
        binary: The bytes behind the JSON.
    """

    content: Mapping[str, Any] | None
    binary: memoryview

    def tensors(self, member: str) -> list[Tensor]:
        """The tensors in a member, ``inputs`` or ``outputs``, in their order.

        Raises:
            ProtocolError: The member is not a list of tensors, or the bytes behind the JSON are not theirs.
        """
        entries = (self.content or {}).get(member)
        if not isinstance(entries, list):
            raise ProtocolError(f"'{member}' is to be a list of tensors.")
        found, start = [], 0
        for index, entry in enumerate(entries):
            tensor, start = _tensor(entry, f"{member}[{index}]", self.binary, start)
            found.append(tensor)
        if start != len(self.binary):
            raise ProtocolError(
                f"{len(self.binary)} bytes follow the JSON, of which the tensors claim {start}."
            )
        return found


def read(body: bytes, header_length: str | None, *, max_values: int | None = None) -> Message:
    """Take a body apart.

    Args:
        body: The body of a request or an answer.
        header_length: The value of the header :data:`HEADER_LENGTH`, if there was one.
        max_values: Refuse JSON with more values than these, before it is read.

    Raises:
        ProtocolError: It is not a message of this protocol.
    """
    length = len(body)
    if header_length is not None:
        if not (header_length.isascii() and header_length.isdigit() and len(header_length) <= 12):
            raise ProtocolError(f"{HEADER_LENGTH} is not a number of bytes.")
        length = int(header_length)
        if length > len(body):
            raise ProtocolError(f"{HEADER_LENGTH} is {length}, and the body has {len(body)} bytes.")
        if length == 0:
            return Message(None, memoryview(body))
    text = body if length == len(body) else body[:length]
    if max_values is not None and count_values(text) > max_values:
        raise TooManyValuesError(
            f"The JSON holds more than the {max_values} values that are taken.",
            hint="Send fewer images at once, or the tensor as bytes (binary_data_size).",
        )
    try:
        content = from_json(text)
    except ValueError as error:
        raise ProtocolError(f"The body is not JSON: {error}.") from None
    if not isinstance(content, dict):
        raise ProtocolError("The body is to be a JSON object.")
    return Message(content, memoryview(body)[length:])


def count_values(text: bytes) -> int:
    """A bound, quickly found, on how many values some JSON can hold."""
    return text.count(b",") + 1


def write(
    content: Mapping[str, Any],
    member: str,
    tensors: Mapping[str, Array],
    binary: Collection[str] = (),
) -> tuple[bytes, int | None]:
    """Put a message together.

    Args:
        content: The JSON, without the tensors.
        member: Where they go, ``inputs`` or ``outputs``.
        tensors: The tensors by name, in order; arrays of a dtype in :data:`DATATYPES`, or of strings.
        binary: The names of those that go as bytes behind the JSON.

    Returns:
        The body, and the value of :data:`HEADER_LENGTH`; ``None`` where it is JSON alone.
    """
    entries, tail = [], []
    for name, array in tensors.items():
        entry: dict[str, Any] = {"name": name, "shape": list(array.shape), "datatype": datatype_of(array)}
        if name in binary:
            tail.append(_to_bytes(array))
            entry["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            entry["data"] = array.ravel().tolist()
        entries.append(entry)
    header = to_json({**content, member: entries}, inf_nan_mode="constants")
    return (b"".join([header, *tail]), len(header)) if tail else (header, None)


def datatype_of(array: Array) -> str:
    """The protocol's name of an array's dtype."""
    if array.dtype.kind in "OU":
        return "BYTES"
    return next(name for name, dtype in DATATYPES.items() if np.dtype(dtype) == array.dtype)


def _tensor(entry: Any, where: str, binary: memoryview, start: int) -> tuple[Tensor, int]:
    """One tensor, and where the next one's bytes begin."""
    if not isinstance(entry, dict):
        raise ProtocolError(f"{where} is to be a tensor: name, shape, datatype and data.")
    name, datatype, parameters = entry.get("name"), entry.get("datatype"), entry.get("parameters") or {}
    if not isinstance(name, str) or not isinstance(parameters, dict):
        raise ProtocolError(f"{where} is to have a name, and parameters that are an object.")
    if datatype not in DATATYPES:
        shown = f"{datatype!r:.40}" if isinstance(datatype, str) else "missing"
        raise ProtocolError(f"{where}.datatype is {shown}; it is to be one of {', '.join(DATATYPES)}.")
    shape = _shape(entry.get("shape"), where)
    if "shared_memory_region" in parameters:
        raise ProtocolError(f"{where} lies in shared memory, which this server has no part in.")
    size = parameters.get("binary_data_size")
    if size is None:
        if "data" not in entry:
            raise ProtocolError(f"{where} has neither data nor the parameter binary_data_size.")
        return Tensor(name, datatype, shape, parameters, entry["data"]), start
    if type(size) is not int or not 0 <= size <= len(binary) - start:
        left = len(binary) - start
        raise ProtocolError(f"{where} has a binary_data_size of {size!r:.40}; {left} bytes are left for it.")
    if "data" in entry:
        raise ProtocolError(f"{where} has data in the JSON and a binary_data_size as well.")
    return Tensor(name, datatype, shape, parameters, binary[start : start + size]), start + size


def _shape(given: Any, where: str) -> tuple[int, ...]:
    sides = given if isinstance(given, list) else []
    if not 1 <= len(sides) <= _MAX_DIMENSIONS or not all(
        type(side) is int and 0 <= side < _MAX_SIDE for side in sides
    ):
        raise ProtocolError(f"{where}.shape is to be a list of 1 to {_MAX_DIMENSIONS} whole numbers.")
    return tuple(sides)


def _flatten(content: Any, shape: Sequence[int], name: str) -> list[Any]:
    """The values of nested lists of a shape, or of one flat list of as many, in row-major order."""
    if not isinstance(content, list):
        raise ProtocolError(f"The data of the tensor '{name}' are to be a list.")
    if not content or not isinstance(content[0], list):
        if len(content) != math.prod(shape):
            raise _misshapen(name, shape)
        return content
    rows = [content]
    for side in shape:
        if not all(isinstance(row, list) and len(row) == side for row in rows):
            raise _misshapen(name, shape)
        rows = list(chain.from_iterable(rows))
    return rows


def _misshapen(name: str, shape: Sequence[int]) -> ProtocolError:
    return ProtocolError(
        f"The data of the tensor '{name}' are neither nested lists of shape {list(shape)} nor one flat list "
        f"of {math.prod(shape)} values."
    )


def _strings(content: memoryview, name: str) -> Iterator[str]:
    """The elements of a BYTES tensor: the length of each in four bytes, then its bytes."""
    start = 0
    while start < len(content):
        (length,) = struct.unpack_from("<I", content, start) if start + 4 <= len(content) else (-1,)
        end = start + 4 + length
        if length < 0 or end > len(content):
            raise ProtocolError(f"The strings of the tensor '{name}' break off.")
        yield str(bytes(content[start + 4 : end]), "utf-8", "replace")
        start = end


def _to_bytes(array: Array) -> bytes:
    if array.dtype.kind not in "OU":
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    encoded = [str(value).encode() for value in array.ravel().tolist()]
    return b"".join(struct.pack("<I", len(value)) + value for value in encoded)
