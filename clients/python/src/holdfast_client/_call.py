"""A request before it is sent, and the whole of an answer: what the two clients pass to their sockets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import IO, Generic, Protocol, TypeVar

T = TypeVar("T")


class Repeat(Enum):
    """When a request may be sent again after it failed."""

    #: Reading, and what comes to the same when it is done again: whatever happened to it.
    ALWAYS = "always"
    #: Work that has no effect but its cost: where no answer had begun, or the server said that it did none.
    UNANSWERED = "unanswered"
    #: What the server knows again by its Idempotency-Key: whatever happened to it.
    KEYED = "keyed"
    #: What has an effect: only where it cannot have reached the server, or was turned away before anything.
    UNSENT = "unsent"


@dataclass(frozen=True)
class Reply:
    """An answer, all of it.

    Attributes:
        status: The HTTP status.
        headers: By name in lower case.
        content: The body.
        attempts: How often the request was sent for it.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes
    attempts: int = 1


class Listener(Protocol):
    """Hears an answer that comes in events."""

    def hear(self, content: bytes) -> None:
        """Take bytes of it."""

    def reply(self, stream: Reply) -> Reply | None:
        """The answer that the events ended with, of the same headers; None where there was none."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and how its answer is read.

    Attributes:
        method: ``GET``, ``POST``, …
        path: Quoted, from ``/v1`` on.
        read: From an answer of a status below 300 to a result.
        repeat: When it may be sent again.
        params: The query.
        headers: Beside those of every request.
        content: The body, if it is not a form.
        files: A form's files, opened: field, name, file.
        fields: A form's other fields.
        listen: Makes what hears each answer that comes as server-sent events; None where none is asked for.
    """

    method: str
    path: str
    read: Callable[[Reply], T]
    repeat: Repeat = Repeat.ALWAYS
    params: Mapping[str, str | int | Sequence[str]] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    files: Sequence[tuple[str, tuple[str, IO[bytes], str]]] = ()
    fields: Mapping[str, str] = field(default_factory=dict)
    listen: Callable[[], Listener] | None = None
