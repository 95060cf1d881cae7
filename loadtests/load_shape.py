"""The shape of a run, as locust asks for it.

Every run has one, ``constant`` if none is named, so that every run ends, and ends in the same way: nobody
begins anything more, what is on its way may be answered for the time of ``--drain``, and only then is it
over. To end users in the middle of their requests would leave out the slowest of them.
"""

from __future__ import annotations

import time

from locust import LoadTestShape
from locust.env import Environment
from locust.runners import MasterRunner

from loadtests import session
from loadtests.loopback import check_host
from loadtests.options import read_options, settle

#: locust warns beyond this.
_MOST_SPAWNED_PER_SECOND = 100.0
#: Seconds after the last user for the last reports of worker processes, which come every second.
_LAST_REPORTS = 2.0
#: Seconds for the first users to come.
_PATIENCE = 60.0


class Shape(LoadTestShape):
    """The shape of ``--shape``, for locust; see the module."""

    use_common_options = True

    def reset_time(self) -> None:
        """Begin: where a run has been before, as from locust's web page, a new one."""
        super().reset_time()  # type: ignore[no-untyped-call]
        if self.runner is not None and session.of(self.runner.environment).course.is_over:
            begin_run(self.runner.environment)

    def tick(self) -> tuple[int, float] | None:
        """The users that there are to be now, and how many to start per second; None in the end."""
        runner = self.runner
        if runner is None:
            return None
        course = session.of(runner.environment).course
        now: float = self.get_run_time()  # type: ignore[no-untyped-call]
        if not course.has_begun and runner.user_count == 0 and now < _PATIENCE:
            # The first stage begins with its users: those of worker processes take a moment to come.
            return course.first, min(course.spawn_rate, _MOST_SPAWNED_PER_SECOND)
        users = course.users_at(now, time.time())
        if users is not None:
            return users, min(course.spawn_rate, _MOST_SPAWNED_PER_SECOND)
        if runner.user_count == 0:
            course.emptied = course.emptied or now
        else:
            course.emptied = None
        patience = _LAST_REPORTS if isinstance(runner, MasterRunner) else 0.0
        if course.emptied is not None and now >= course.emptied + patience:
            return None
        if now >= course.over + course.options.drain + 2 * _LAST_REPORTS:
            return None
        return 0, _MOST_SPAWNED_PER_SECOND


def begin_run(environment: Environment) -> None:
    """Begin a run on the process that leads it.

    Raises:
        ValueError: The gateway's address cannot be used.
    """
    parsed = environment.parsed_options
    assert parsed is not None
    settle(parsed)
    options = read_options(parsed)
    environment.host = check_host(environment.host or "", allow_remote=options.allow_remote)
    environment.stop_timeout = options.drain
    session.begin(environment, options)
