"""What all users have in common: how they wait, ask, and judge what they get."""

from __future__ import annotations

import time
from collections.abc import Mapping
from random import Random
from typing import Any, ClassVar

import gevent
from gevent.pool import Group
from locust import FastHttpUser, tag
from locust.env import Environment
from locust.exception import CatchResponseError, StopTest, StopUser
from locust.user.task import LOCUST_STATE_STOPPING

from loadtests import images, session
from loadtests.answers import Answer, Judge, judge, pause_after
from loadtests.ledger import Outcome
from loadtests.loopback import check_host
from loadtests.open_loop import Arrivals, Start
from loadtests.target import Target, key_headers

#: Callers do not all come back at the same moment, but up to so much later than they were told to.
_JITTER = 0.5


class GatewayUser(FastHttpUser):
    """A caller of the gateway; its tasks say of what.

    In the closed workload it does one task after another. In the open one it is a Poisson process of
    arrivals, each of which is one of its tasks, carried out beside those that have not ended.
    """

    abstract = True
    #: Whether the certificate of a gateway that speaks TLS counts: it is sent a key.
    insecure = False
    #: What ``--tags`` calls its tasks.
    TAGS: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if cls.TAGS:
            tagged: Any = tag(*cls.TAGS)
            cls.tasks = [tagged(each) for each in cls.tasks]

    @classmethod
    def prepare(cls) -> None:
        """Make what this kind of user needs, once in a process, before there is any load."""

    def __init__(self, environment: Environment) -> None:
        self.run_state = run = session.of(environment)
        self.options = run.options
        run.users += 1
        worker = getattr(environment.runner, "worker_index", 0)
        self.random = Random(f"{self.options.seed}/{worker}/{run.users}/{type(self).__name__}")
        self.network_timeout = self.connection_timeout = self.options.patience
        self.client_pool = run.pool
        super().__init__(environment)
        try:
            check_host(str(self.host), allow_remote=self.options.allow_remote)
        except ValueError as error:
            raise StopTest(str(error)) from None
        # Nobody follows a gateway elsewhere.
        agent: Any = self.client.client
        agent.redirect_response_codes = frozenset()
        self._key = key_headers()
        self._back_at = 0.0
        self._leaving = False
        self._mix = list(self.tasks)
        self._arrivals: Arrivals | None = None
        self._on_their_way = Group()
        if self.options.is_open:
            self.tasks = [_arrive]

    @property
    def target(self) -> Target:
        """The gateway."""
        return self.run_state.target

    def wait_time(self) -> float:
        """Seconds until the next task: think time, or until the next arrival."""
        if self._arrivals is not None:
            return self._arrivals.wait()
        mean = self.options.think
        thinking = self.random.expovariate(1 / mean) if mean else 0.0
        return max(thinking, self._back_at - time.perf_counter(), 0.0)

    def pick(self) -> tuple[str, bytes]:
        """One of the example images: its name and file."""
        return self.random.choice(list(images.small().items()))

    def ask(
        self,
        name: str,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        rule: Judge,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> Answer | None:
        """Send one request, and enter what became of it.

        Args:
            name: What it is called in reports.
            method: Its method.
            path: Its address, without the host.
            body: Its body.
            rule: What its answer must be.
            status: The status that it must have.
            headers: More headers.

        Returns:
            The answer, where it is what it must be.
        """
        start = self.begin(name)
        sent = {**(headers or {}), **self._key}
        try:
            client: Any = self.client
            response = client.request(method, path, data=body, headers=sent, catch_response=True)
        except gevent.GreenletExit:
            self.end(name, method, start, Outcome.UNANSWERED, fault="no answer by the end of the run")
            raise
        if not response.status_code:
            fault = f"no answer: {type(response.error).__name__}"
            self.end(name, method, start, Outcome.UNANSWERED, fault=fault)
            return None
        answer = Answer(
            response.status_code,
            {key.lower(): value for key, value in response.headers.items()},
            response.content or b"",
        )
        return self.conclude(name, method, start, answer, judge(answer, status, rule))

    def conclude(
        self, name: str, method: str, start: Start, answer: Answer, fault: str | None
    ) -> Answer | None:
        """Enter an answer, which has a fault or none, and honour a refusal. The answer, where it is good."""
        size = len(answer.body)
        pause = pause_after(answer)
        if pause is not None:
            self._back_at = time.perf_counter() + pause * (1 + _JITTER * self.random.random())
            self.end(name, method, start, Outcome.REFUSED, size)
            return None
        if fault is not None:
            self.end(name, method, start, Outcome.FAILED, size, fault)
            return None
        self.end(name, method, start, Outcome.ANSWERED, size)
        return answer

    def stop(self, force: bool = False) -> Any:
        """Stop: at once if it waits, else after its task; see :meth:`begin`."""
        self._leaving = True
        return super().stop(force)

    def begin(self, name: str) -> Start:
        """Enter that a request is to begin: when it arrived, or now."""
        current = gevent.getcurrent()
        if self._leaving and current is self.greenlet and self._state != LOCUST_STATE_STOPPING:
            # Locust ends users that wait, and one whose wait is over at this moment would begin a request and
            # be ended in the middle of it.
            raise StopUser
        start: Start | None = getattr(current, "arrival", None)
        if start is None:
            start = Start.now()
        else:  # only the first request of a task was to begin when the task arrived
            current.arrival = None
            self.run_state.ledger.late(start.elapsed())
        self.run_state.ledger.begin(name, start.wall)
        return start

    def end(
        self,
        name: str,
        method: str,
        start: Start,
        outcome: Outcome,
        size: int = 0,
        fault: str = "",
    ) -> None:
        """Enter how a request ended, here and in locust's own statistics."""
        elapsed = start.elapsed()
        self.run_state.ledger.end(name, start.wall, outcome, elapsed)
        self.environment.events.request.fire(
            request_type=method,
            # A refusal is quick; among the answers it would make them look quicker than they are.
            name=f"{name} (refused)" if outcome is Outcome.REFUSED else name,
            response_time=elapsed,
            response_length=size,
            response=None,
            context={},
            exception=CatchResponseError(fault) if fault else None,
            start_time=start.wall,
            url=f"{self.host}",
        )

    def on_stop(self) -> None:
        """In the open workload, wait for what is on its way; locust ends that after the time to drain."""
        try:
            self._on_their_way.join()
        finally:
            self._on_their_way.kill()

    def arrive(self) -> None:
        """Carry out a task for everyone who arrived since the last time."""
        if self._arrivals is None:
            self._arrivals = Arrivals(self.options.arrival_rate, self.random)
        for clock in self._arrivals.due():
            carrier = gevent.Greenlet(self._carry_out, self.random.choice(self._mix))
            carrier.arrival = Start.at(clock)
            self._on_their_way.start(carrier)

    def _carry_out(self, task: Any) -> None:
        try:
            task(self)
        except gevent.GreenletExit:
            raise
        except Exception as error:  # noqa: BLE001  as locust does with a task of the closed workload
            self.environment.events.user_error.fire(
                user_instance=self, exception=error, tb=error.__traceback__
            )


def _arrive(user: GatewayUser) -> None:
    user.arrive()
