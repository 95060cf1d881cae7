"""How often somebody may ask: ``600/minute``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_SECONDS = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
_WRITTEN = re.compile(rf"(\d{{1,9}}) ?/ ?(?:(\d{{1,5}}) ?)?({'|'.join(_SECONDS)})s?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests in so much time.

    Attributes:
        quota: Requests; as many may come at once where none came before.
        window: Seconds in which they are granted anew.
    """

    quota: int
    window: int

    def __post_init__(self) -> None:
        """Refuse what lets nobody in: to do that, revoke the key."""
        if self.quota < 1 or self.window < 1:
            raise ValueError("at least one request in at least one second is to be allowed")

    @classmethod
    def parse(cls, text: str) -> Rate:
        """Read ``10/second``, ``600/minute`` or ``1000/5 minutes``.

        Raises:
            ValueError: It is written in some other way.
        """
        match = _WRITTEN.fullmatch(text.strip().lower())
        if match is None:
            raise ValueError("write it as 10/second, 600/minute, 1000/5 minutes, 5000/hour or 10000/day")
        quota, several, unit = match.groups()
        return cls(int(quota), int(several or 1) * _SECONDS[unit])

    def __str__(self) -> str:
        unit, seconds = next(
            (unit, seconds) for unit, seconds in reversed(_SECONDS.items()) if self.window % seconds == 0
        )
        several = self.window // seconds
        return f"{self.quota}/{unit}" if several == 1 else f"{self.quota}/{several} {unit}s"


def _read(value: object) -> object:
    return Rate.parse(value) if isinstance(value, str) else value


#: A rate in a pydantic model, which is read from text and written as text.
RateField = Annotated[
    Rate,
    BeforeValidator(_read),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["600/minute"]}),
]
