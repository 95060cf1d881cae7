"""What a command printed, beside what a page shows of it: heads of HTTP, JSON, events and lines of text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from support.transcripts.elided import ELLIPSIS, Reader
from support.transcripts.fitting import MismatchError, Names, fit_json, fit_text

#: Headers whose values say how it was at that moment.
_MOMENTARY = frozenset({"content-length", "date", "etag", "ratelimit", "retry-after"})
#: What keeps a stream of events open while nothing happens.
_PING = re.compile(r"^: ping.*\n\n?", re.MULTILINE)
_STATUS = re.compile(r"HTTP/\d(\.\d)? \d{3}")


@dataclass(frozen=True)
class Line:
    """A line of text."""

    text: str


@dataclass(frozen=True)
class Document:
    """JSON, as it is or as it is shown."""

    value: Any


@dataclass(frozen=True)
class Head:
    """The head of an answer; ``open`` where headers are left out."""

    status: str
    headers: tuple[tuple[str, str], ...]
    open: bool

    @property
    def names(self) -> list[str]:
        """Of the headers, in order."""
        return sorted(name for name, _ in self.headers)


Piece = Line | Document | Head


def fit_output(shown: str, found: str, names: Names) -> None:
    """Hold what a command printed to what is shown.

    Raises:
        MismatchError: It is of another shape.
        ValueError: What is shown cannot be read.
    """
    asked, came = list(_pieces(shown, is_shown=True)), list(_pieces(found, is_shown=False))
    gap = next((place for place, each in enumerate(asked) if each == Line(ELLIPSIS)), None)
    if gap is not None:
        after = len(asked) - gap - 1
        if Line(ELLIPSIS) in asked[gap + 1 :]:
            raise ValueError("a line of its own may be an ellipsis once")
        if len(came) < len(asked) - 1:
            raise MismatchError(f"{len(came)} lines where more are shown")
        came = came[:gap] + came[len(came) - after :]
        asked = asked[:gap] + asked[gap + 1 :]
    for place, (each, one) in enumerate(zip(asked, came, strict=False), 1):
        _fit(each, one, names, f"piece {place}")
    if len(asked) != len(came):
        left = (asked if len(asked) > len(came) else came)[min(len(asked), len(came))]
        raise MismatchError(
            f"{left} is {'shown and did not come' if len(asked) > len(came) else 'not shown'}"
        )


def _fit(shown: Piece, found: Piece, names: Names, where: str) -> None:
    if type(shown) is not type(found):
        raise MismatchError(f"{where}: {found} where {shown} is shown")
    if isinstance(shown, Document) and isinstance(found, Document):
        fit_json(shown.value, found.value, names)
    elif isinstance(shown, Line) and isinstance(found, Line):
        fit_text(shown.text, found.text, names, where)
    elif isinstance(shown, Head) and isinstance(found, Head):
        _fit_head(shown, found, names)


def _fit_head(shown: Head, found: Head, names: Names) -> None:
    if shown.status != found.status:
        raise MismatchError(f"{found.status} where {shown.status} is shown")
    values = dict(found.headers)
    missing = [name for name in shown.names if name not in values]
    more = [name for name in found.names if name not in shown.names]
    if missing or (more and not shown.open):
        raise MismatchError(f"headers: {missing} shown and did not come; {more} came and are not shown")
    for name, value in shown.headers:
        if name not in _MOMENTARY:
            fit_text(value, values[name], names, name)


def _pieces(text: str, *, is_shown: bool) -> Iterator[Piece]:
    text = _PING.sub("", text.replace("\r\n", "\n")).strip("\n")
    while text:
        if _STATUS.match(text):
            head, _, text = text.partition("\n\n")
            yield _head(head)
            continue
        prefix = "data: " if text.startswith(("data: {", "data: [")) else ""
        if text.startswith(("{", "["), len(prefix)) and (
            read := _document(text[len(prefix) :], is_shown=is_shown)
        ):
            if prefix:
                yield Line(prefix)
            yield Document(read[0])
            text = read[1].removeprefix("\n")
            continue
        line, _, text = text.partition("\n")
        yield Line(line.rstrip())


def _head(text: str) -> Head:
    status, *lines = text.splitlines()
    headers = [line.partition(":") for line in lines if line.strip() != ELLIPSIS]
    pairs = tuple((name.strip().lower(), value.strip()) for name, _, value in headers)
    return Head(status.strip(), pairs, len(pairs) < len(lines))


def _document(text: str, *, is_shown: bool) -> tuple[Any, str] | None:
    """JSON at the beginning of a text, and what follows it; ``None`` where there is none."""
    if is_shown:
        # An event's data end with their line; what is shown else may be wrapped.
        reader = Reader(text)
        try:
            return reader.value(), text[reader.place :]
        except ValueError:
            if text.startswith("{"):
                raise
            return None
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except ValueError:
        return None
    return value, text[end:]
