"""A run that goes beyond a threshold fails, and says of which."""

from __future__ import annotations

import pytest

from loadtests.ledger import Ledger, Outcome
from loadtests.thresholds import Threshold, over


def book(**requests: list[float | Outcome]) -> Ledger:
    """Requests by name: milliseconds of answered ones, or what became of others."""
    ledger = Ledger()
    for name, found in requests.items():
        for each in found:
            ledger.begin(name, 0)
            if isinstance(each, Outcome):
                ledger.end(name, 0, each)
            else:
                ledger.end(name, 0, Outcome.ANSWERED, each)
    return ledger


def check(option: str, text: str, ledger: Ledger) -> str:
    return " ".join(over([Threshold.parse(option, text)], ledger))


def test_failures_within_the_ratio_pass_and_more_do_not() -> None:
    ledger = book(a=[1.0] * 98 + [Outcome.FAILED, Outcome.UNANSWERED])
    assert check("--fail-ratio", "0.02", ledger) == ""
    assert check("--fail-ratio", "0.019", ledger) == (
        "2.00% of all requests failed, more than 1.90% (--fail-ratio)."
    )


def test_refusals_have_a_ratio_of_their_own() -> None:
    ledger = book(a=[1.0] * 9 + [Outcome.REFUSED])
    assert check("--fail-ratio", "0", ledger) == ""
    assert check("--refusal-ratio", "0.1", ledger) == ""
    assert "10.00% of all requests were refused" in check("--refusal-ratio", "0.09", ledger)


def test_latencies_are_held_against_their_limit() -> None:
    ledger = book(a=[10.0] * 96 + [500.0] * 4)
    assert check("--p95", "11", ledger) == ""
    assert check("--p99", "510", ledger) == ""
    fault = check("--p99", "400", ledger)
    assert fault.startswith("The p99 of all requests is 49")
    assert "the limit is 400 ms (--p99)" in fault


def test_who_never_got_an_answer_is_over_every_limit() -> None:
    ledger = book(a=[1.0] * 50 + [Outcome.UNANSWERED] * 2)
    assert "answers never came" in check("--p99", "1000000", ledger)


def test_a_threshold_may_be_of_some_names_only() -> None:
    ledger = book(slow=[900.0] * 10, fast=[9.0] * 10)
    assert check("--p99", "fast=10", ledger) == ""
    assert "'slow'" in check("--p99", "slow=10", ledger)
    assert "'*s*'" in check("--p99", "*s*=10", ledger)
    assert check("--p99", "*=910", ledger) == ""


def test_nothing_measured_is_no_success() -> None:
    assert "nothing was measured" in check("--fail-ratio", "1", Ledger())
    assert "Nothing was measured of 'b'" in check("--p99", "b=1000", book(a=[1.0]))
    assert "No request of all requests was answered" in check("--p95", "1", book(a=[Outcome.REFUSED]))


@pytest.mark.parametrize("text", ["", "fast", "a=", "=x", "-1", "nan", "a=b=c"])
def test_what_is_no_threshold_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="milliseconds"):
        Threshold.parse("--p99", text)


def test_names_may_have_equals_signs() -> None:
    assert Threshold.parse("--p99", "a=b=5") == Threshold("--p99", 5.0, "a=b")
