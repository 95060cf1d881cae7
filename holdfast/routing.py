"""Which version of a model answers where a request names none: ``<store>/<name>/routing.json``.

Without the file it is the newest. With it, the versions that it names share the requests by weight, so that a
new version can be tried on a few of them (a canary), made the default, and taken back.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from holdfast.bundle import ModelStore
from holdfast.errors import HoldfastError
from holdfast.manifest import VERSION_PATTERN

ROUTING = "routing.json"

#: A routing names a handful of versions.
_MAX_BYTES = 64 * 1024


def _number(value: object) -> object:
    """An integer as JSON has it, 2.0 being one; true and "2" are none, and pydantic would take them."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a weight is a whole number")  # noqa: TRY004 - pydantic catches it
    return value


Version = Annotated[str, Field(pattern=VERSION_PATTERN)]
Weight = Annotated[int, Field(ge=0, le=1_000_000), BeforeValidator(_number)]
#: JSON Schema would take any other key, too, if it were not told.
Weights = Annotated[
    dict[Version, Weight],
    WithJsonSchema(
        {
            "type": "object",
            "patternProperties": {VERSION_PATTERN: {"type": "integer", "minimum": 0, "maximum": 1_000_000}},
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 100,
        }
    ),
]


class RoutingError(HoldfastError):
    """A routing cannot be read, written or followed; the message says which and why."""


class Routing(BaseModel):
    """How the requests that name no version are shared out.

    Attributes:
        weights: By version; a request goes to a version with its share of the sum.
        previous: The weights before, which a rollback returns to.
        changed: When the weights were set.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    weights: Annotated[Weights, Field(min_length=1, max_length=100)]
    previous: Annotated[Weights, Field(min_length=1, max_length=100)] | None = None
    changed: datetime

    @model_validator(mode="after")
    def _somebody_answers(self) -> Self:
        for weights in (self.weights, self.previous):
            if weights is not None and not sum(weights.values()):
                raise ValueError("all weights are 0: nobody would answer")
        return self


def choose(weights: Mapping[str, int], key: str) -> str:
    """The version for a key: the same for the same key and weights, and spread by weight over many keys.

    Args:
        weights: By version; their sum is not 0.
        key: Whatever is to stay with one version, e.g. a request's id or a user's.
    """
    # A number in [0, 1) that looks random and is the key's own.
    drawn = int.from_bytes(blake2b(key.encode(errors="replace"), digest_size=8).digest()) / 2**64
    point = drawn * sum(weights.values())
    passed = 0
    for version in sorted(weights, key=int):
        passed += weights[version]
        if point < passed:
            return version
    return max(weights, key=lambda version: (weights[version], int(version)))


def read_routing(store: ModelStore, name: str) -> Routing | None:
    """A model's routing; None where there is none, so that the newest version answers.

    Raises:
        RoutingError: The file cannot be read.
    """
    path = store.root / name / ROUTING
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RoutingError(f"The routing of {name!r} cannot be read: {error.strerror}.") from None
    if len(content) > _MAX_BYTES:
        raise RoutingError(f"{ROUTING} of {name!r} is larger than {_MAX_BYTES} bytes; it is no routing.")
    try:
        return Routing.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RoutingError(
            f"{ROUTING} of {name!r}: {f'{where}: ' if where else ''}{first['msg']}.",
            hint=f"Set it anew with: holdfast route {name} --to VERSION",
        ) from None


def set_weights(store: ModelStore, name: str, weights: Mapping[str, int]) -> Routing:
    """Share a model's requests out anew, and keep what was before for a rollback.

    Raises:
        BundleNotFoundError: There is no such model.
        RoutingError: A version is not in the store, or nobody would answer, or the file cannot be written.
    """
    versions = store.versions(name)
    missing = [version for version in weights if version not in versions]
    if missing:
        raise RoutingError(
            f"Model {name!r} has no version {', '.join(missing)}.", hint=f"It has: {', '.join(versions)}."
        )
    before = read_routing(store, name)
    previous = {versions[-1]: 1} if before is None else before.weights
    return _write(store, name, weights, previous)


def roll_back(store: ModelStore, name: str) -> Routing:
    """Return to the weights before the last change; a second time undoes the first.

    Raises:
        BundleNotFoundError: There is no such model.
        RoutingError: Nothing was changed yet, or what was before is no longer there.
    """
    versions = store.versions(name)
    now = read_routing(store, name)
    if now is None or now.previous is None:
        raise RoutingError(f"The routing of {name!r} was never changed: there is nothing to return to.")
    gone = [version for version, weight in now.previous.items() if weight and version not in versions]
    if gone:
        raise RoutingError(
            f"Version {', '.join(gone)} of {name!r}, which answered before, is no longer in the store.",
            hint=f"There are: {', '.join(versions)}. Choose with: holdfast route {name} --to VERSION",
        )
    return _write(store, name, now.previous, now.weights)


def clear(store: ModelStore, name: str) -> None:
    """Let the newest version answer again.

    Raises:
        BundleNotFoundError: There is no such model.
        RoutingError: The file cannot be removed.
    """
    store.versions(name)
    try:
        (store.root / name / ROUTING).unlink(missing_ok=True)
    except OSError as error:
        raise _unwritable(name, error) from None


def _write(
    store: ModelStore, name: str, weights: Mapping[str, int], previous: Mapping[str, int] | None
) -> Routing:
    """Whole or not at all: a gateway may read it at any moment."""
    try:
        routing = Routing(
            weights=dict(weights),
            previous=None if previous is None else dict(previous),
            changed=datetime.now(UTC).replace(microsecond=0),
        )
    except ValidationError as error:
        message = error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
        raise RoutingError(f"The routing of {name!r} cannot be set: {message}.") from None
    path = store.root / name / ROUTING
    temporary = path.with_name(f".{ROUTING}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(routing.model_dump_json(indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _unwritable(name, error) from None
    return routing


def _unwritable(name: str, error: OSError) -> RoutingError:
    return RoutingError(
        f"The routing of {name!r} cannot be written: {error.strerror}.",
        hint="The model store must be writable where the routing is set.",
    )
