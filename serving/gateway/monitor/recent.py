"""What happened in the last minutes, in steps of a few seconds: bounded, in memory, of this process alone.

Prometheus keeps figures for longer, and of many gateways. This is for looking at one of them now.
"""

from __future__ import annotations

import copy
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, NamedTuple

from holdfast.manifest import Verdict
from serving.gateway.monitor.latencies import Latencies

#: Seconds of one step.
STEP = 5
#: Minutes that are kept.
MINUTES = 15
_SLOTS = MINUTES * 60 // STEP

#: What a request was for.
Purpose = Literal["classify", "attack", "other"]

_REFUSED = frozenset({429, 503})
_GONE = 499


class ModelKey(NamedTuple):
    """What was classified with."""

    model: str
    version: str
    defence: str


class AttackKey(NamedTuple):
    """What was attacked, with what."""

    model: str
    version: str
    defence: str
    attack: str


def is_counted(path: str) -> bool:
    """Whether a request counts. Those of who only watches do not, or they would be all there is to see."""
    return path.startswith(("/v1/", "/v2/")) and not path.startswith(("/v1/monitor", "/v2/health"))


@lru_cache(maxsize=256)
def purpose_of(route: str) -> Purpose:
    """What requests to an address are for, by its template."""
    last = route.rpartition("/")[2]
    if last in ("classify", "infer"):
        return "classify"
    return "attack" if last == "attack" else "other"


@dataclass(slots=True)
class Tally:
    """How often something happened. For their meaning see :mod:`serving.gateway.monitor.schemas`."""

    requests: int = 0
    succeeded: int = 0
    client_errors: int = 0
    refused: int = 0
    server_errors: int = 0
    gone: int = 0
    images: int = 0
    natural: int = 0
    uncertain: int = 0
    suspect: int = 0
    batches: int = 0
    batch_images: int = 0
    largest_batch: int = 0
    latencies: Latencies = field(default_factory=Latencies)

    def end(self, status: int, seconds: float) -> None:
        """Count a request that is over."""
        self.requests += 1
        if status < 400:
            self.succeeded += 1
        elif status in _REFUSED:
            self.refused += 1
        elif status == _GONE:
            self.gone += 1
        elif status < 500:
            self.client_errors += 1
        else:
            self.server_errors += 1
        self.latencies.add(seconds)

    def add(self, other: Tally) -> None:
        """Count all of another."""
        for name in COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.largest_batch = max(self.largest_batch, other.largest_batch)
        self.latencies.merge(other.latencies)


#: The fields of a tally that add up.
COUNTS = tuple(name for name in Tally.__slots__ if name not in ("largest_batch", "latencies"))


@dataclass(slots=True)
class Strikes:
    """How an attack on demand went, over several images."""

    fooled: int = 0
    held: int = 0
    latencies: Latencies = field(default_factory=Latencies)

    def add(self, other: Strikes) -> None:
        """Count all of another."""
        self.fooled += other.fooled
        self.held += other.held
        self.latencies.merge(other.latencies)


@dataclass(slots=True)
class Slot:
    """One step.

    Attributes:
        number: Its place on the clock.
        requests: All requests.
        attack_requests: Those for attacks.
        classified: Those that classify, once it is known with what.
        attacks: What came of attacks.
        waiting: The most images that a request found waiting for a model.
        in_flight: The most requests that were being answered at once.
    """

    number: int
    requests: Tally = field(default_factory=Tally)
    attack_requests: Tally = field(default_factory=Tally)
    classified: dict[ModelKey, Tally] = field(default_factory=dict)
    attacks: dict[AttackKey, Strikes] = field(default_factory=dict)
    waiting: int = 0
    in_flight: int = 0

    def of(self, subject: ModelKey) -> Tally:
        """The tally of a subject, made where there is none."""
        tally = self.classified.get(subject)
        if tally is None:
            tally = self.classified[subject] = Tally()
        return tally


class Recent:
    """The last minutes. Safe to call from any thread; each call costs a microsecond or two.

    Args:
        clock: Seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._started = clock()
        self._slots = deque([Slot(int(self._started // STEP))], maxlen=_SLOTS)
        self._in_flight = 0
        self._waiting: Callable[[], int] = lambda: 0

    def watch(self, waiting: Callable[[], int]) -> None:
        """Ask this how many images wait, whenever a request comes."""
        self._waiting = waiting

    @property
    def in_flight(self) -> int:
        """Requests that are being answered."""
        return self._in_flight

    def begin_request(self) -> None:
        """Note that a request has come."""
        waiting = self._waiting()
        with self._lock:
            slot = self._now()
            self._in_flight += 1
            slot.in_flight = max(slot.in_flight, self._in_flight)
            slot.waiting = max(slot.waiting, waiting)

    def end_request(self, purpose: Purpose, subject: ModelKey, status: int, seconds: float) -> None:
        """Count a request that is over; one whose model is empty was about none, as far as is known."""
        with self._lock:
            slot = self._now()
            self._in_flight -= 1
            slot.requests.end(status, seconds)
            if purpose == "attack":
                slot.attack_requests.end(status, seconds)
            elif purpose == "classify" and subject.model:
                slot.of(subject).end(status, seconds)

    def count_images(self, subject: ModelKey, images: int) -> None:
        """Count images that were classified."""
        with self._lock:
            self._now().of(subject).images += images

    def count_verdict(self, subject: ModelKey, verdict: Verdict) -> None:
        """Count an image by what the manifold evidence said of it."""
        with self._lock:
            tally = self._now().of(subject)
            setattr(tally, verdict, getattr(tally, verdict) + 1)

    def count_batch(self, subject: ModelKey, images: int) -> None:
        """Count images that ran through a model together."""
        with self._lock:
            tally = self._now().of(subject)
            tally.batches += 1
            tally.batch_images += images
            tally.largest_batch = max(tally.largest_batch, images)

    def count_attack(self, attack: AttackKey, fooled: bool, seconds: float) -> None:
        """Count an image that was attacked."""
        with self._lock:
            strikes = self._now().attacks.setdefault(attack, Strikes())
            if fooled:
                strikes.fooled += 1
            else:
                strikes.held += 1
            strikes.latencies.add(seconds)

    def slots(self, minutes: int) -> tuple[list[Slot], float]:
        """The steps of the last minutes, oldest first, and how many seconds ago the first began.

        The last is the one that is not over yet.
        """
        steps = minutes * 60 // STEP
        with self._lock:
            now = self._clock()
            last = self._now()
            # Nothing is added to the others.
            found = [*self._slots]
            found[-1] = copy.deepcopy(last)
        first = last.number - steps + 1
        known = {slot.number: slot for slot in found}
        slots = [known.get(number) or Slot(number) for number in range(first, last.number + 1)]
        return slots, now - first * STEP

    def uptime(self) -> float:
        """Seconds since it began."""
        return self._clock() - self._started

    def _now(self) -> Slot:
        """The step of this moment; those that passed in silence come before it."""
        number = int(self._clock() // STEP)
        last = self._slots[-1]
        if last.number < number:
            earliest = max(last.number + 1, number - _SLOTS + 1)
            # What was being answered still is.
            self._slots.extend(Slot(each, in_flight=self._in_flight) for each in range(earliest, number + 1))
            last = self._slots[-1]
        return last
