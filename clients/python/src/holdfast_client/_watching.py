"""An attack that is watched: from its server-sent events to what an ordinary answer would have been."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from holdfast_client._attack_results import AttackProgress
from holdfast_client._call import Reply
from holdfast_client._errors import UnexpectedAnswerError
from holdfast_client._reading import UnreadableError, read
from holdfast_client._sse import Event, EventParser

#: Characters of one event at most. An answer has images in it, up to 64 of an attack's way among them.
_LONGEST = 1 << 28


class AttackListener:
    """Hears one attack's events.

    Args:
        progress: Called with how the attack is.
    """

    def __init__(self, progress: Callable[[AttackProgress], None]) -> None:
        self._progress = progress
        self._parser = EventParser(_LONGEST)
        self._at = AttackProgress()
        self._last: Event | None = None

    def hear(self, content: bytes) -> None:
        """Take bytes of the stream.

        Raises:
            UnexpectedAnswerError: They are no events of an attack.
        """
        for at in self._understand(content):
            self._progress(at)

    def _understand(self, content: bytes) -> list[AttackProgress]:
        """What bytes of the stream say of how the attack is."""
        found = []
        try:
            for event in self._parser.feed(content):
                if event.kind in ("waiting", "progress"):
                    known = {**vars(self._at), **event.content()}
                    self._at = read(AttackProgress, known, f"the event {event.kind}")
                    found.append(self._at)
                elif event.kind in ("result", "problem"):
                    self._last = event
        except (ValueError, RecursionError) as error:
            raise _unreadable(error) from None
        return found

    def reply(self, stream: Reply) -> Reply | None:
        """The answer that the stream ended with; None where it ended without one.

        Args:
            stream: The answer's status and headers.

        Raises:
            UnexpectedAnswerError: A problem has no status.
        """
        if self._last is None:
            return None
        content = self._last.data.encode()
        if self._last.kind == "result":
            return replace(stream, content=content)
        try:
            status = self._last.content().get("status")
        except (ValueError, RecursionError) as error:
            raise _unreadable(error) from None
        if not isinstance(status, int) or not 400 <= status < 600:
            raise _unreadable(UnreadableError("the problem has no status"))
        return replace(stream, status=status, content=content)


def _unreadable(error: Exception) -> UnexpectedAnswerError:
    reason = error if isinstance(error, UnreadableError) else "what is in them is not JSON"
    return UnexpectedAnswerError(f"The events of the attack cannot be read: {reason}.")
