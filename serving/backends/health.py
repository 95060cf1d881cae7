"""Whether a model on a server elsewhere answers: what is known, and when it counts."""

from __future__ import annotations

import math

#: Failures in a row after which a model is taken to be down: one may be an accident.
FALL = 2
#: Answers in a row after which it is taken to be up again: a server that comes back often goes again at once.
RISE = 2
#: The longest that a caller is told to stay away, in seconds.
_LONGEST_ABSENCE = 30.0


class Health:
    """Up until it fails :data:`FALL` times in a row or hangs; then down until it answers :data:`RISE` times.

    Times are seconds on the clock of ``time.monotonic()``. Owned by the backend, on its event loop.

    Attributes:
        up: Whether the model is asked at all.
        answered_at: When it last answered.
    """

    def __init__(self) -> None:
        self.up = False
        self.answered_at = -math.inf
        self._failures = 0
        self._answers = 0
        self._down_since: float | None = None

    def answered(self, now: float) -> bool:
        """Note an answer; whether a model that was down is up again because of it."""
        self.answered_at = now
        self._failures = 0
        self._answers += 1
        if self.up or self._answers < RISE:
            return False
        was_down = self._down_since is not None
        self.up, self._down_since = True, None
        return was_down

    def failed(self, now: float) -> bool:
        """Note a failure; whether the model is down because of it."""
        self._answers = 0
        self._failures += 1
        return self._failures >= FALL and self._fall(now)

    def hangs(self, now: float) -> bool:
        """Note that it answers nothing at all; whether the model is down because of it."""
        self._answers, self._failures = 0, FALL
        return self._fall(now)

    def trust(self, now: float) -> None:
        """Take it to be up, as its first answer has just come."""
        self.up, self.answered_at, self._failures, self._down_since = True, now, 0, None

    def retry_after(self, now: float) -> float:
        """Seconds for which a caller should stay away: as long as it has been down, within reason."""
        absence = 0.0 if self._down_since is None else now - self._down_since
        return min(max(1.0, absence), _LONGEST_ABSENCE)

    def _fall(self, now: float) -> bool:
        fell, self.up = self.up, False
        if self._down_since is None:
            self._down_since = now
        return fell
