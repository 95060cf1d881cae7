"""The open workload: requests arrive whether or not the last ones have their answers.

In a closed workload a server that stalls is asked nothing more until it answers, so a stall of a second is
one slow request among thousands: the load waits with the server, and the latencies leave out what callers
would have seen who came meanwhile (*coordinated omission*). Here requests arrive by a Poisson process of a
given rate, as those of many callers do who know nothing of one another, and a latency counts from when its
request was *to* be sent. A stall of a second then shows in everyone who came during it.

Every locust user of this workload is a Poisson process of its own. The sum of independent Poisson processes
is one whose rate is the sum of theirs, so ``-u 200`` at one arrival per second each is exactly a Poisson
process of 200 per second, on however many processes locust shares the users out, and a load shape that
changes the number of users changes the rate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True)
class Start:
    """When a request is to begin.

    Attributes:
        clock: On the clock of ``time.perf_counter()``.
        wall: The same moment in seconds since the epoch.
    """

    clock: float
    wall: float

    @staticmethod
    def now() -> Start:
        """This moment: a caller of the closed workload begins when it can."""
        return Start(time.perf_counter(), time.time())

    @staticmethod
    def at(clock: float) -> Start:
        """A moment on the clock, most often a past one."""
        now = Start.now()
        return Start(clock, now.wall - (now.clock - clock))

    def elapsed(self) -> float:
        """Milliseconds since then."""
        return 1000 * (time.perf_counter() - self.clock)


class Arrivals:
    """The arrivals of one Poisson process; each is handed out once, however late somebody asks.

    Args:
        rate: Arrivals per second.
        random: Decides on the gaps.
        clock: In seconds.

    Raises:
        ValueError: The rate is not a positive number.
    """

    def __init__(self, rate: float, random: Random, clock: Callable[[], float] = time.perf_counter) -> None:
        if not (rate > 0 and math.isfinite(rate)):
            raise ValueError(f"Arrivals need a positive rate, not {rate:g}.")
        self._rate = rate
        self._random = random
        self._clock = clock
        # The first gap is as long as any: users that begin together must not all ask at once.
        self._next = clock() + self._gap()

    def due(self) -> list[float]:
        """The times of the arrivals until now that were not handed out yet.

        They depend on the gaps alone. Being asked late moves none of them.
        """
        now = self._clock()
        found = []
        while self._next <= now:
            found.append(self._next)
            self._next += self._gap()
        return found

    def wait(self) -> float:
        """Seconds until the next arrival; 0 where it is due."""
        return max(0.0, self._next - self._clock())

    def _gap(self) -> float:
        return self._random.expovariate(self._rate)
