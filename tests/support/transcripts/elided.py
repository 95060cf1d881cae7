"""JSON as pages show it: wrapped anywhere, and with ``…`` in the place of what is too much to show."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, NoReturn

_SPACE = re.compile(r"\s*")
_LITERAL = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)

ELLIPSIS = "…"


class Elision:
    """What is left out: any value, or any number of members or elements."""

    def __repr__(self) -> str:
        """As it is written."""
        return ELLIPSIS


@dataclass
class ShownObject:
    """An object; ``open`` where members are left out."""

    members: dict[str, Any] = field(default_factory=dict)
    open: bool = False


@dataclass
class Reader:
    """Reads one value from the beginning of a text.

    Attributes:
        text: What is shown.
        place: How far it has been read.
        cut: Whether the text ends with an ellipsis before all brackets are closed.
    """

    text: str
    place: int = 0
    cut: bool = False

    def value(self) -> Any:
        """The value here: a plain one of JSON, a :class:`ShownObject`, a list or an :class:`Elision`.

        Raises:
            ValueError: There is none.
        """
        if self._take(ELLIPSIS):
            return Elision()
        if self._take("{"):
            return self._object()
        if self._take("["):
            return self._list()
        if found := _STRING.match(self.text, self.place):
            self.place = found.end()
            return json.loads(re.sub(r"\n\s*", " ", found[0]))
        if found := _LITERAL.match(self.text, self.place):
            self.place = found.end()
            return json.loads(found[0])
        return self._fail("a value")

    def _object(self) -> ShownObject:
        found = ShownObject()
        while not self.cut and not self._take("}"):
            if self._take(ELLIPSIS):
                found.open = True
                self._see_whether_cut()
                self._take(",")
                continue
            self._skip()
            name = self.value()
            if not isinstance(name, str) or not self._take(":"):
                self._fail("a member")
            found.members[name] = self.value()
            self._separate("}")
        found.open = found.open or self.cut
        return found

    def _list(self) -> list[Any]:
        found: list[Any] = []
        while not self.cut and not self._take("]"):
            found.append(self.value())
            if isinstance(found[-1], Elision):
                self._see_whether_cut()
            self._separate("]")
        if self.cut and not isinstance(found[-1], Elision):
            found.append(Elision())
        return found

    def _separate(self, end: str) -> None:
        if not self.cut and not self._take(",") and not self._at(end) and not self._at(ELLIPSIS):
            self._fail(f"',' or '{end}'")

    def _see_whether_cut(self) -> None:
        self._skip()
        self.cut = self.place == len(self.text)

    def _at(self, mark: str) -> bool:
        self._skip()
        return self.text.startswith(mark, self.place)

    def _take(self, mark: str) -> bool:
        if not self._at(mark):
            return False
        self.place += len(mark)
        return True

    def _skip(self) -> None:
        found = _SPACE.match(self.text, self.place)
        self.place = found.end() if found else self.place

    def _fail(self, wanted: str) -> NoReturn:
        raise ValueError(f"{wanted} should follow {self.text[: self.place][-40:]!r}")
