"""Server-sent events: from bytes to events, however the bytes were cut."""

from __future__ import annotations

import codecs
import json
from dataclasses import dataclass
from typing import Any

from holdfast_client._job_results import JobEvent

#: Characters of one event of a job at most: what is longer is none of ours.
_LONGEST = 1 << 22


@dataclass(frozen=True)
class Event:
    """One event, as it came.

    Attributes:
        kind: What its ``event`` field says.
        data: Its ``data`` fields, a line each.
        number: Its ``id``, where that is a number.
    """

    kind: str
    data: str
    number: int | None = None

    def content(self) -> dict[str, Any]:
        """The object that its data is.

        Raises:
            ValueError: It is none.
        """
        found = json.loads(self.data)
        if not isinstance(found, dict):
            raise ValueError("an event's data is no object")  # noqa: TRY004 - not this caller's type
        return found


class EventParser:
    """Parses a stream of events, by the WHATWG's rules for them.

    Args:
        longest: Characters of one event at most.

    Attributes:
        retry: Milliseconds after which to come back when the stream ends, where the server said so.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self.retry: int | None = None
        self.restart()

    def restart(self) -> None:
        """Forget what was incomplete: a new stream begins."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""
        self._rest: list[str] = []
        self._lines: list[str] = []
        self._size = 0

    def feed(self, content: bytes) -> list[Event]:
        """The events that these bytes complete.

        Raises:
            ValueError: One is too long.
        """
        text = self._held + self._decoder.decode(content)
        self._held = "\r" if text.endswith("\r") else ""  # a \n may follow
        body = text.removesuffix("\r").replace("\r\n", "\n").replace("\r", "\n")
        found = []
        first, *others = body.split("\n")
        self._rest.append(first)
        self._size += len(first)
        for other in others:
            line = "".join(self._rest)
            self._rest = [other]
            if line:
                self._lines.append(line)
            else:
                event = self._event()
                self._lines, self._size = [], 0
                if event is not None:
                    found.append(event)
            self._size += len(other)
        if self._size > self._longest:
            raise ValueError("an event is too long")
        return found

    def _event(self) -> Event | None:
        kind, data, number = "message", [], None
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
                self.retry = int(value)
        return Event(kind, "\n".join(data), number) if data else None


class EventReader:
    """Reads a stream of a job's events.

    Args:
        last: The number of the last event that is known already.

    Attributes:
        last: The number of the last event that was complete.
    """

    def __init__(self, last: int = 0) -> None:
        self.last = last
        self._parser = EventParser(_LONGEST)

    @property
    def retry(self) -> float:
        """Seconds after which to come back when the stream ends, as the server asks for."""
        return 2.0 if self._parser.retry is None else min(30.0, self._parser.retry / 1000)

    def restart(self) -> None:
        """Forget what was incomplete: a new stream begins."""
        self._parser.restart()

    def feed(self, content: bytes) -> list[JobEvent]:
        """The events that these bytes complete.

        Raises:
            ValueError: They are no events of a job.
        """
        found = []
        for event in self._parser.feed(content):
            data = event.content()
            number = self.last if event.number is None else event.number
            if number <= self.last:
                continue  # it was seen before the connection was lost
            self.last = number
            found.append(JobEvent(number=number, kind=event.kind, data=data))
        return found
