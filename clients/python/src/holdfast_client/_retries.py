"""Whether to send a request again, and how long to wait before that."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from holdfast_client._answers import retry_after
from holdfast_client._call import Call, Repeat, Reply
from holdfast_client._errors import APIConnectionError, APIError, ConfigurationError, ProblemError

#: Refusals that go by themselves. What was refused with 429 or 503 was not begun.
_NOT_BEGUN = (429, 503)
_PASSING = (429, 502, 503, 504)


@dataclass(frozen=True)
class Failure:
    """An attempt that came to no whole answer.

    Attributes:
        error: What to raise, if it is not repeated.
        sent: Whether any of the request may have reached the server.
        answered: Whether an answer had begun.
        late: Whether the time for it was over.
    """

    error: APIConnectionError
    sent: bool
    answered: bool = False
    late: bool = False


@dataclass(frozen=True)
class Retries:
    """How often and how soon.

    Args:
        most: Attempts after the first.
        first: Seconds before the second attempt, on average three quarters of it; doubled each time.
        longest: Seconds between two attempts at most.
        patience: The longest Retry-After that is waited for; a longer one is left to the caller.
        chance: Gives a number in [0, 1): callers who failed together are not to come back together.
    """

    most: int = 2
    first: float = 0.5
    longest: float = 8.0
    patience: float = 60.0
    chance: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        """Refuse what cannot be."""
        if self.most < 0:
            raise ConfigurationError(f"max_retries is 0 or more, not {self.most}.")

    def delay(self, call: Call[Any], outcome: Reply | Failure, attempt: int) -> float | None:
        """Seconds to wait before the request is sent again; None for never.

        Args:
            call: The request.
            outcome: What came of it.
            attempt: How often it was sent.
        """
        if attempt > self.most or not _may_repeat(call.repeat, outcome):
            return None
        asked = retry_after(outcome) if isinstance(outcome, Reply) else None
        if asked is None:
            return self.backoff(attempt)
        if asked > self.patience:
            return None
        return asked + 0.25 * self.chance() * min(asked, 1.0)

    def backoff(self, attempt: int) -> float:
        """Seconds to wait after so many attempts, where the server does not say."""
        whole = min(self.longest, self.first * 2.0 ** min(attempt - 1, 30))
        return whole * (0.5 + 0.5 * self.chance())


def is_passing(error: APIError) -> bool:
    """Whether what was only read may be asked for again after this."""
    return isinstance(error, APIConnectionError) or (
        isinstance(error, ProblemError) and error.status in _PASSING
    )


def _may_repeat(repeat: Repeat, outcome: Reply | Failure) -> bool:
    if isinstance(outcome, Reply):
        if repeat in (Repeat.ALWAYS, Repeat.KEYED):
            return outcome.status in _PASSING
        return outcome.status in (_NOT_BEGUN if repeat is Repeat.UNANSWERED else (429,))
    if not outcome.sent or repeat in (Repeat.ALWAYS, Repeat.KEYED):
        return True
    return repeat is Repeat.UNANSWERED and not outcome.answered and not outcome.late
