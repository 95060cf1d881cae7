"""A run's way through the stages of its shape, and when it is over."""

from __future__ import annotations

import math
import time

from loadtests.knee import Period, measure
from loadtests.ledger import Ledger
from loadtests.options import Options
from loadtests.shapes import settling, stages_of


class Course:
    """A run's way through its stages; the one owner of which stage it is in and of when each was.

    Args:
        options: What was chosen.
        ledger: What has happened so far.
    """

    def __init__(self, options: Options, ledger: Ledger) -> None:
        self.options = options
        self.emptied: float | None = None
        #: When the last stage ended, on the run's clock; infinite before that.
        self.over = math.inf
        #: Whether somebody stopped it: what was on its way then had no time to end.
        self.called_off = False
        #: Why it ended before its time, if it did.
        self.ended_early = ""
        self._ledger = ledger
        self._stages = stages_of(options)
        self._began: list[float] = []
        self._ended: float | None = None
        self._judged = 0
        #: When the first stage began, on the run's clock.
        self._zero: float | None = None

    @property
    def spawn_rate(self) -> float:
        """Users to start per second: all of a stage at once, but for a constant load's ``-r``."""
        if self.options.shape in ("constant", "soak"):
            return self.options.spawn_rate
        return max(1.0, float(self.options.users))

    @property
    def first(self) -> int:
        """The users of the first stage."""
        return self._stages[0].users

    @property
    def has_begun(self) -> bool:
        """Whether the first stage has."""
        return bool(self._began)

    @property
    def is_over(self) -> bool:
        """Whether nobody is to ask for anything more."""
        return self._ended is not None

    def users_at(self, elapsed: float, wall: float) -> int | None:
        """How many users there are to be.

        Args:
            elapsed: On the run's clock; its first stage begins when this is first asked.
            wall: Seconds since the epoch.

        Returns:
            None when nobody is to ask for anything more.
        """
        if self._ended is not None:
            return None
        if self._zero is None:
            self._zero = elapsed
        passed = self._zero
        for number, stage in enumerate(self._stages):
            passed += stage.seconds
            if elapsed < passed:
                if number == len(self._began):
                    self._began.append(wall)
                break
        else:
            self._finish(elapsed, wall)
            return None
        if self._ledger.ended >= self.options.max_requests:
            self.ended_early = f"{self._ledger.ended:,} requests have ended; --max-requests allows no more."
            self._finish(elapsed, wall)
            return None
        if self.options.shape == "steps" and self._is_full(wall):
            self.ended_early = "The server is full: the last step went beyond its limits."
            self._finish(elapsed, wall)
            return None
        return stage.users

    def periods(self) -> list[Period]:
        """The stages that were held so far, each after it had settled."""
        ends = [*self._began[1:], time.time() if self._ended is None else self._ended]
        return [
            Period(self.options.load(stage.users), began + settling(stage), ended)
            for stage, began, ended in zip(self._stages, self._began, ends, strict=False)
        ]

    def stop(self) -> None:
        """The run is over, whatever its shape says: somebody stopped it."""
        if self._ended is None:
            self._ended = time.time()
            self.called_off = True

    def _finish(self, elapsed: float, wall: float) -> None:
        self._ended, self.over = wall, elapsed

    def _is_full(self, wall: float) -> bool:
        """Whether a step that has ended, and had time for its answers to come, was beyond the limits."""
        periods = self.periods()
        while self._judged < len(periods) - 1:
            later = self._stages[self._judged + 1]
            if wall < periods[self._judged].ended + settling(later):
                return False
            level = measure(self._ledger, periods[self._judged], self.options.limits)
            self._judged += 1
            if level is not None and not level.within:
                return True
        return False
