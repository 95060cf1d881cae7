"""Server-sent events: from bytes to events, however the bytes were cut."""

from __future__ import annotations

import codecs
import json
from dataclasses import dataclass, field

from holdfast_client._job_results import JobEvent

#: Characters of one event at most: what is longer is none of ours.
_LONGEST = 1 << 22


@dataclass
class EventReader:
    """Reads a stream of a job's events, by the WHATWG's rules for them.

    Attributes:
        last: The number of the last event that was complete.
        retry: Seconds after which to come back when the stream ends, as the server asks for.
    """

    last: int = 0
    retry: float = 2.0
    _rest: str = ""
    _lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Begin at the beginning of a stream."""
        self.restart()

    def restart(self) -> None:
        """Forget what was incomplete: a new stream begins."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest, self._lines = "", []

    def feed(self, content: bytes) -> list[JobEvent]:
        """The events that these bytes complete.

        Raises:
            ValueError: They are no events of a job.
        """
        text = self._rest + self._decoder.decode(content)
        held = text.endswith("\r")  # a \n may follow
        body = (text[:-1] if held else text).replace("\r\n", "\n").replace("\r", "\n")
        *lines, rest = body.split("\n")
        self._rest = rest + ("\r" if held else "")
        if len(self._rest) + sum(map(len, self._lines)) > _LONGEST:
            raise ValueError("an event is too long")
        found = []
        for line in lines:
            if line:
                self._lines.append(line)
                continue
            event = self._event()
            self._lines = []
            if event is not None:
                found.append(event)
        return found

    def _event(self) -> JobEvent | None:
        kind, data, number = "message", [], self.last
        for line in self._lines:
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "event":
                kind = value
            elif name == "data":
                data.append(value)
            elif name == "id" and value.isdigit():
                number = int(value)
            elif name == "retry" and value.isdigit():
                self.retry = min(30.0, int(value) / 1000)
        if not data:
            return None
        content = json.loads("\n".join(data))
        if not isinstance(content, dict):
            raise ValueError("an event's data is no object")  # noqa: TRY004 - not this caller's type
        if number <= self.last:
            return None  # it was seen before the connection was lost
        self.last = number
        return JobEvent(number=number, kind=kind, data=content)
