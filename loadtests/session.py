"""What one process of a run knows: its options, its ledger, the gateway, and where the run is."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from gevent import ssl
from geventhttpclient.client import HTTPClientPool

from loadtests.answers import Memory
from loadtests.course import Course
from loadtests.ledger import Ledger
from loadtests.options import Options
from loadtests.target import Target, TargetError

if TYPE_CHECKING:  # locust patches the standard library of whoever imports it
    from locust.env import Environment


class Session:
    """One run, in one process.

    Args:
        options: What was chosen.
    """

    def __init__(self, options: Options) -> None:
        self.options = options
        self.ledger = Ledger(options.resolution)
        self.memory = Memory()
        self.course = Course(options, self.ledger)
        #: Why there is no load at all, if so.
        self.error = ""
        #: Users of this process so far, each of which has randomness of its own.
        self.users = 0
        #: Requests of the open workload that have not ended, in this process.
        self.in_flight = 0
        self._target: Target | None = None
        self._pool: HTTPClientPool | None = None

    @property
    def target(self) -> Target:
        """The gateway.

        Raises:
            TargetError: Nobody has asked it yet.
        """
        if self._target is None:
            raise TargetError("Nobody has asked the gateway what it serves.")
        return self._target

    @target.setter
    def target(self, target: Target) -> None:
        self._target = target

    @property
    def pool(self) -> HTTPClientPool | None:
        """Connections that all users of the open workload share; in the closed one each has its own."""
        if self.options.is_open and self._pool is None:
            self._pool = HTTPClientPool(
                concurrency=self.options.max_in_flight,
                network_timeout=self.options.patience,
                connection_timeout=self.options.patience,
                ssl_context_factory=ssl.create_default_context,
            )
        return self._pool


_sessions: WeakKeyDictionary[Environment, Session] = WeakKeyDictionary()


def begin(environment: Environment, options: Options) -> Session:
    """Begin a run: what the last one of this process counted is not part of it."""
    found = _sessions[environment] = Session(options)
    return found


def find(environment: Environment) -> Session | None:
    """The run of this process, if one has begun."""
    return _sessions.get(environment)


def of(environment: Environment) -> Session:
    """The run of this process.

    Raises:
        KeyError: It has not begun.
    """
    return _sessions[environment]


def all_of_this_process() -> list[Session]:
    """The run of this process, for events that do not say of which environment they are."""
    return list(_sessions.values())
