"""The contract between the gateway and whatever carries out attacks.

An attacker stands beside a backend: it attacks the models that the backend serves, on resources of its own,
so that classification goes on meanwhile. It knows nothing of HTTP.

    BackendError
    ├── OverloadedError               as many attacks wait as may; says when to come back
    ├── DeadlineExceededError         the time ran out; says how far the attack was
    ├── InferenceError                the attack failed on this image
    ├── NotApplicableError            the model has not got what the attack asks of it
    └── UnavailableError              attacks cannot be carried out at the moment
        └── AttackerLostError         what carried out this attack died
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from holdfast.attacking.cost import Speed
from holdfast.attacking.execution import Attacked
from holdfast.attacks.parameters import AttackParameters
from holdfast.bundle import Bundle
from holdfast.manifest import Defence
from serving.backends.base import BackendError, UnavailableError


class NotApplicableError(BackendError):
    """The model has not got what the attack asks of it."""


class AttackerLostError(UnavailableError):
    """What carried out this attack died on it; another will do the next."""


@dataclass(frozen=True)
class Order:
    """An attack that is asked for.

    Attributes:
        bundle: The model.
        defence: Which of its defences is attacked, and attacked through.
        parameters: The attack's.
        images: float32 (n, channels, height, width) in [0, 1].
        labels: (n,) the classes to leave; None for what the model says of each image.
        trace: Images of the first image's way to keep at most; 0 for none.
        expected: Seconds that it will take at most, for whoever waits behind it.
    """

    bundle: Bundle
    defence: Defence
    parameters: AttackParameters
    images: NDArray[np.float32]
    labels: NDArray[np.int64] | None = None
    trace: int = 0
    expected: float = 0.0


@dataclass(frozen=True)
class Carried:
    """An attack that was carried out.

    Attributes:
        attacked: What came of it.
        queue: Seconds until it began.
        seconds: Seconds that it took.
    """

    attacked: Attacked
    queue: float
    seconds: float


class Watcher(Protocol):
    """Somebody who wants to know how an attack is. Called on the event loop, and quick."""

    def waits(self, before: int) -> None:
        """So many attacks have to end before this one begins; 0 when it begins after having waited."""

    def advances(self, done: int, total: int, seconds: float) -> None:
        """So many of all steps are done, that many seconds after it began; it may need fewer."""


class Attacker(Protocol):
    """Something that carries out attacks. All methods are called from one event loop.

    An attacker owns its queue and its processes or connections.
    """

    @property
    def waiting(self) -> int:
        """Attacks that wait for their turn."""

    @property
    def running(self) -> int:
        """Attacks that are being carried out, those included that nobody waits for any more."""

    async def close(self) -> None:
        """Refuse what waits, end what runs, give everything back. Safe to call twice."""

    async def speed(self, bundle: Bundle, defence: Defence, *, deadline: float) -> Speed:
        """What the model's passes take behind a defence; measured once, where attacks will run.

        Args:
            bundle: The model.
            defence: A defence that it offers.
            deadline: When the answer is of no more use, on the clock of ``time.monotonic()``.

        Raises:
            BackendError: One of its subclasses, see the module's docstring.
        """

    async def attack(self, order: Order, *, deadline: float, watcher: Watcher | None = None) -> Carried:
        """Carry out an attack.

        When the deadline passes, or the caller is cancelled, the attack is stopped between two calls of the
        model; its place is free when it has stopped, and not before.

        Args:
            order: The attack.
            deadline: When the answer is of no more use, on the clock of ``time.monotonic()``.
            watcher: Who is told how it waits and, where that is known, how it advances. Nothing is said
                before it is certain that it may wait, or of an attack that fails before its first step.

        Raises:
            BackendError: One of its subclasses, see the module's docstring.
        """
