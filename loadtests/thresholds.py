"""What a run must keep to: shares of failures and refusals, and latencies, of all requests or some."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.ledger import Ledger


@dataclass(frozen=True)
class Threshold:
    """A limit.

    Attributes:
        option: What it was given by: ``--fail-ratio``, ``--refusal-ratio``, ``--p95``, ``--p99``.
        limit: A share, or milliseconds.
        pattern: The names of the requests that it is about, together; ``*`` stands for anything.
    """

    option: str
    limit: float
    pattern: str = "*"

    @staticmethod
    def parse(option: str, text: str) -> Threshold:
        """Read ``LIMIT``, or ``NAME=LIMIT`` for the requests of one name (``classify *=200`` for several).

        Raises:
            ValueError: It is neither, with what was expected.
        """
        name, _, number = text.rpartition("=")
        try:
            limit = float(number)
        except ValueError:
            limit = math.nan
        is_share = option in _RATIOS
        if not 0 <= limit <= (1 if is_share else math.inf):
            unit = "a share from 0 to 1" if is_share else "milliseconds"
            raise ValueError(f"{option} takes {unit}, or NAME=… for the requests of a name, not {text!r}.")
        return Threshold(option, limit, name or "*")

    def check(self, ledger: Ledger) -> str | None:
        """What is over the limit, as a sentence; None where nothing is."""
        cell = ledger.total(self.pattern)
        whose = "all requests" if self.pattern == "*" else f"'{self.pattern}'"
        if not cell.ended:
            return f"Nothing was measured of {whose}, which {self.option} is about."
        if self.option in _RATIOS:
            ratio = getattr(cell, _RATIOS[self.option][0])
            if ratio <= self.limit:
                return None
            what = _RATIOS[self.option][1]
            return f"{ratio:.2%} of {whose} {what}, more than {self.limit:.2%} ({self.option})."
        found = cell.quantile(_QUANTILES[self.option])
        if found is None:
            return f"No request of {whose} was answered, which {self.option} is about."
        if found <= self.limit:
            return None
        what = f"{found:,.1f} ms" if math.isfinite(found) else "without end, as answers never came"
        return f"The {self.option[2:]} of {whose} is {what}; the limit is {self.limit:,g} ms ({self.option})."


#: By option: the cell's attribute, and what those requests did.
_RATIOS = {
    "--fail-ratio": ("fail_ratio", "failed"),
    "--refusal-ratio": ("refusal_ratio", "were refused"),
}
_QUANTILES = {"--p95": 0.95, "--p99": 0.99}


def over(thresholds: Sequence[Threshold], ledger: Ledger) -> list[str]:
    """Everything that is over its limit, as sentences.

    A run in which no request ended has kept to nothing.
    """
    if not ledger.total().ended:
        return ["No request ended: nothing was measured."]
    return [fault for threshold in thresholds if (fault := threshold.check(ledger)) is not None]
