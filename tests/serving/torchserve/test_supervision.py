"""When TorchServe is started again, and when no more; by the clock of the test, with no TorchServe."""

from __future__ import annotations

import pytest

from holdfast.errors import UsageError
from serving.torchserve.errors import TorchServeError
from serving.torchserve.supervision import STABLE, supervise


class Clock:
    """Time that passes when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.stop_at = 100_000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def stopped(self) -> bool:
        return self.now >= self.stop_at


class Server:
    """A TorchServe that runs for so many seconds after each start; ``None`` does not come up at all."""

    url = "http://127.0.0.1:1"

    def __init__(self, clock: Clock, *lives: float | None) -> None:
        self.clock = clock
        self.lives = list(lives)
        self.dies_at: float | None = clock.now + (self.lives.pop(0) or 0)
        self.starts: list[float] = []

    def check(self) -> None:
        if self.dies_at is None:
            raise TorchServeError("TorchServe is not running.")
        if self.clock.now >= self.dies_at:
            raise TorchServeError("TorchServe ended by itself with exit status -9.")

    def stop(self) -> None:
        self.dies_at = None

    def start(self) -> None:
        self.starts.append(self.clock.now)
        life = self.lives.pop(0) if self.lives else 0.0
        if life is None:
            raise UsageError("Port 8080 cannot be used: it is taken.")
        self.dies_at = self.clock.now + life

    def wait_ready(self, _interrupted: object) -> None:
        return None


def run(clock: Clock, server: Server, restarts: int) -> list[str]:
    said: list[str] = []
    supervise(
        server,  # type: ignore[arg-type]
        clock.stopped,
        restarts=restarts,
        report=said.append,
        clock=clock,
        sleep=clock.sleep,
    )
    return said


def test_one_that_ends_by_itself_is_started_again() -> None:
    clock = Clock()
    clock.stop_at = 500
    server = Server(clock, 100.0, 10_000.0)
    said = run(clock, server, restarts=1)
    assert server.starts == [pytest.approx(101, abs=0.5)]
    assert "exit status -9" in said[0]
    assert "again in 1 s (1 of 1 in a row)" in said[0]
    assert "ready again on http://127.0.0.1:1" in said[1]


def test_each_time_in_a_row_it_waits_twice_as_long_until_it_is_given_up() -> None:
    clock = Clock()
    server = Server(clock, 100.0)
    with pytest.raises(TorchServeError, match="exit status -9"):
        run(clock, server, restarts=8)
    pauses = [later - earlier for earlier, later in zip([100.0, *server.starts], server.starts, strict=False)]
    assert pauses == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60], abs=0.5)


def test_one_that_worked_in_between_begins_the_count_anew() -> None:
    clock = Clock()
    server = Server(clock, 100.0, 1.0, STABLE + 10, 1.0)
    with pytest.raises(TorchServeError):
        run(clock, server, restarts=2)
    assert len(server.starts) == 4


def test_one_that_does_not_come_up_is_tried_again_and_given_up_too() -> None:
    clock = Clock()
    server = Server(clock, 100.0, None, None, None)
    with pytest.raises(TorchServeError):
        run(clock, server, restarts=3)
    assert len(server.starts) == 3
    clock = Clock()
    clock.stop_at = 1000
    server = Server(clock, 100.0, None, 10_000.0)
    said = run(clock, server, restarts=3)
    assert any("Port 8080 cannot be used" in each for each in said)
    assert "ready again" in said[-1]


def test_without_restarts_its_end_is_the_end() -> None:
    clock = Clock()
    server = Server(clock, 100.0)
    with pytest.raises(TorchServeError, match="exit status -9"):
        run(clock, server, restarts=0)
    assert server.starts == []


def test_whoever_stops_it_while_it_waits_does_not_wait_along() -> None:
    clock = Clock()
    clock.stop_at = 130
    server = Server(clock, 100.0, *[0.0] * 20)
    run(clock, server, restarts=20)
    assert clock.now == pytest.approx(130, abs=0.5)
