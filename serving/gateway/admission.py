"""How much the gateway takes on at once: requests in progress, and the bytes that their bodies hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from serving.gateway.problem_kinds import OVERLOADED
from serving.gateway.problems import Problem, retry_after


class Admission:
    """Counts what is in progress, and refuses what is more than the server can hold.

    Touched from the event loop only.

    Args:
        max_requests: The most requests in progress.
        max_bytes: The most bytes that the bodies of all of them may hold.
    """

    def __init__(self, *, max_requests: int, max_bytes: int) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self.requests = 0
        self.held = 0

    @contextmanager
    def enter(self) -> Iterator[Holding]:
        """Be in progress; what the request holds is given back at the end.

        Raises:
            Problem: Too many requests are in progress.
        """
        if self.requests >= self._max_requests:
            raise Problem(
                OVERLOADED,
                f"The server is working on {self.requests} requests, and takes no more at once.",
                retry_after(1),
            )
        self.requests += 1
        holding = Holding(self)
        try:
            yield holding
        finally:
            self.requests -= 1
            self.held -= holding.size

    def take(self, size: int) -> None:
        """Count ``size`` more bytes.

        Raises:
            Problem: They are too many.
        """
        if self.held + size > self._max_bytes:
            raise Problem(
                OVERLOADED, "The server holds as many bytes of images as it may at once.", retry_after(1)
            )
        self.held += size


class Holding:
    """What one request holds."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.size = 0

    def add(self, size: int) -> None:
        """Hold ``size`` more bytes.

        Raises:
            Problem: All requests together hold too many.
        """
        self._admission.take(size)
        self.size += size
