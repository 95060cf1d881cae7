"""How often one caller may ask: a token bucket for each, and the headers that tell of it.

The headers are those of draft-ietf-httpapi-ratelimit-headers-10: ``RateLimit-Policy`` says what is granted,
``RateLimit`` what is left of it. A bucket is one number, the moment at which it will be full again (the
generic cell rate algorithm). The library ``limits`` was tried first: its store in memory starts a thread to
clear up after nearly every request, which takes longer than all else that is done about one here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.rates import Rate

#: Whose requests are counted together: a key's, or those that come from an address.
Policy = Literal["key", "address"]

#: Callers that are remembered. Those longest unheard of are forgotten first, and have a full bucket then.
_MAX_CALLERS = 100_000

#: Of a request, that floating-point sums may be wrong by.
_ROUNDING = 1e-6

_STATE = "rate_limit"


@dataclass(frozen=True, slots=True)
class Standing:
    """How a caller stands.

    Attributes:
        policy: What is counted.
        rate: What is granted.
        remaining: Requests that could come at once, now.
        reset: Seconds until all of the quota is there again.
        retry_after: Seconds until there is one more request, where there is none; else 0.
    """

    policy: Policy
    rate: Rate
    remaining: int
    reset: float
    retry_after: float

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The headers of an answer that tell of it."""
        policy = f'"{self.policy}";q={self.rate.quota};w={self.rate.window}'
        standing = f'"{self.policy}";r={self.remaining};t={math.ceil(self.reset)}'
        return [(b"ratelimit-policy", policy.encode()), (b"ratelimit", standing.encode())]


class RateLimiter:
    """Counts requests by caller. Touched from the event loop only.

    Args:
        policy: What it calls its policy.
        max_callers: Callers that it remembers.
        clock: Tells the time, in seconds.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        max_callers: int = _MAX_CALLERS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = policy
        self._max_callers = max_callers
        self._clock = clock
        #: When each caller's bucket is full again, the one longest unheard of first.
        self._full: dict[str, float] = {}

    def take(self, caller: str, rate: Rate) -> tuple[bool, Standing]:
        """Count a request, if the rate allows it.

        Args:
            caller: Whose request it is.
            rate: What is granted to it.

        Returns:
            Whether it is allowed, and how the caller stands now.
        """
        now = self._clock()
        full = max(now, self._full.pop(caller, now))
        allowed, _ = self._standing(full, now, rate)
        if allowed:
            full += rate.window / rate.quota
        self._full[caller] = full
        if len(self._full) > self._max_callers:
            del self._full[next(iter(self._full))]
        return allowed, self._standing(full, now, rate)[1]

    def peek(self, caller: str, rate: Rate) -> tuple[bool, Standing]:
        """What :meth:`take` would answer, with nothing counted."""
        now = self._clock()
        return self._standing(max(now, self._full.get(caller, now)), now, rate)

    def _standing(self, full: float, now: float, rate: Rate) -> tuple[bool, Standing]:
        """Whether there is a request in a bucket that is full at a moment, and what else there is."""
        each = rate.window / rate.quota
        missing = full - now
        remaining = max(0, math.floor((rate.window - missing) / each + _ROUNDING))
        wait = 0.0 if remaining else missing - (rate.window - each)
        return remaining > 0, Standing(self._policy, rate, remaining, missing, wait)


def note(scope: Scope, standing: Standing) -> None:
    """Have the answer tell how the caller stands."""
    scope["state"][_STATE] = standing


class RateLimitHeadersMiddleware:
    """Puts the headers on every answer to a request that was counted, whatever the answer is."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its answer with the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope["state"]

        async def send_with_standing(message: Message) -> None:
            if message["type"] == "http.response.start":
                standing: Standing | None = state.get(_STATE)
                if standing is not None:
                    message["headers"] = [*message.get("headers", ()), *standing.headers()]
            await send(message)

        await self._app(scope, receive, send_with_standing)
