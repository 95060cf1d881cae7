"""From JSON to frozen dataclasses, by their annotations.

What a newer server says beyond what a class knows is left out, so that an older client goes on working; what
a class needs and a server does not say is an error.
"""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_Reader = Callable[[Any, str], Any]


class UnreadableError(ValueError):
    """A value is not what a class needs it to be; the message says where."""


def read(kind: type[T], data: Any, where: str = "the answer") -> T:
    """Make a ``kind`` of what was JSON.

    Raises:
        UnreadableError: A member is missing, or of another type.
    """
    hashable: Any = kind
    value: T = _reader(hashable)(data, where)
    return value


def named(name: str) -> dict[str, str]:
    """Metadata of a field that JSON has under another name."""
    return {"name": name}


@cache
def _reader(kind: Any) -> _Reader:
    """What reads values of a type."""
    origin, arguments = get_origin(kind), get_args(kind)
    if kind is Any:
        return lambda data, _: data
    if origin in (Union, types.UnionType):
        return _optional(arguments)
    if origin is Literal:
        return _scalar(str)
    if origin in (list, tuple):
        return _sequence(origin, arguments)
    if origin in (dict, Mapping):
        return _mapping(arguments[1])
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind)
    if kind is datetime:
        return _moment
    return _scalar(kind)


def _optional(arguments: tuple[Any, ...]) -> _Reader:
    (inner,) = [each for each in arguments if each is not type(None)]
    reader = _reader(inner)
    return lambda data, where: None if data is None else reader(data, where)


def _scalar(kind: type) -> _Reader:
    def read_scalar(data: Any, where: str) -> Any:
        if kind is float and isinstance(data, int) and not isinstance(data, bool):
            return float(data)
        if not isinstance(data, kind) or (kind is int and isinstance(data, bool)):
            raise UnreadableError(f"{where} is no {kind.__name__}")
        return data

    return read_scalar


def _sequence(kind: type, arguments: tuple[Any, ...]) -> _Reader:
    readers = [_reader(each) for each in arguments if each is not ...]

    def read_sequence(data: Any, where: str) -> Any:
        if not isinstance(data, list):
            raise UnreadableError(f"{where} is no list")
        fixed = kind is tuple and ... not in arguments
        if fixed and len(data) != len(readers):
            raise UnreadableError(f"{where} has {len(data)} values, not {len(readers)}")
        return kind(
            readers[place if fixed else 0](each, f"{where}[{place}]") for place, each in enumerate(data)
        )

    return read_sequence


def _mapping(value: Any) -> _Reader:
    reader = _reader(value)

    def read_mapping(data: Any, where: str) -> Any:
        if not isinstance(data, dict):
            raise UnreadableError(f"{where} is no object")
        return {name: reader(each, f"{where}.{name}") for name, each in data.items()}

    return read_mapping


def _dataclass(kind: Any) -> _Reader:
    hints = get_type_hints(kind)
    fields = [each for each in dataclasses.fields(kind) if not each.metadata.get("ours")]
    names = [(each.name, each.metadata.get("name", each.name)) for each in fields]
    readers = {each.name: _reader(hints[each.name]) for each in fields}
    needed = {
        each.name
        for each in fields
        if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
    }

    def read_dataclass(data: Any, where: str) -> Any:
        if not isinstance(data, dict):
            raise UnreadableError(f"{where} is no object")
        given: dict[str, Any] = {}
        for name, written in names:
            if written in data:
                given[name] = readers[name](data[written], f"{where}.{written}")
            elif name in needed:
                raise UnreadableError(f"{where} has no {written}")
        return kind(**given)

    return read_dataclass


def _moment(data: Any, where: str) -> datetime:
    try:
        return datetime.fromisoformat(str(data).replace("Z", "+00:00"))
    except ValueError:
        raise UnreadableError(f"{where} is no date") from None
