"""What a run came to is said in words that are true, and in JSON that everybody can read."""

from __future__ import annotations

import json
import re

import pytest
from support.load_options import options

from loadtests.ledger import Outcome
from loadtests.session import Session
from loadtests.summary import Summary, summarise


def run(latencies: list[float | Outcome], *arguments: str, seconds: int = 40) -> Summary:
    """A run in which all requests of a second went alike; in each as many as there were users."""
    chosen = options("--step-users", "2", *arguments, seconds=seconds)
    session = Session(chosen)
    for second, latency in enumerate([*latencies, 0.0]):
        users = session.course.users_at(second, 1000 + second)
        for _ in range(users or 0):
            session.ledger.begin("a", 1000 + second)
            if isinstance(latency, Outcome):
                session.ledger.end("a", 1000 + second, latency)
            else:
                session.ledger.end("a", 1000 + second, Outcome.ANSWERED, latency)
    return summarise(session)


def test_the_knee_is_told_with_the_level_that_was_too_much() -> None:
    summary = run([5.0] * 20 + [900.0] * 10 + [5.0] * 10, "--shape", "steps", "--knee-of", "a")
    text = summary.as_text()
    assert re.search(r"Knee: 4 users, [34]\.\d answered in time per second, is the most with", text)
    assert "p99 of 'a' within 250 ms and at most 1.0% lost; 6 users is too much." in text
    assert "The server is full" in text
    assert text.endswith("Passed.\n")
    found = summary.as_json()
    assert found["knee"]["level"]["load"] == 4
    assert found["knee"]["beyond"]["load"] == 6


@pytest.mark.parametrize(
    ("latency", "words", "levels"),
    [(5.0, "Knee: not reached. At 8 users", 4), (900.0, "Knee: none. The lowest level already", 1)],
)
def test_a_knee_that_is_not_there_is_not_made_up(latency: float, words: str, levels: int) -> None:
    summary = run([latency] * 40, "--shape", "steps")
    assert words in summary.as_text()
    assert len(summary.levels) == levels


def test_other_shapes_have_no_knee() -> None:
    for shape in ("constant", "ramp", "spike", "soak"):
        assert run([5.0] * 40, "--shape", shape).knee is None


def test_a_soak_says_how_much_slower_it_has_become() -> None:
    summary = run([10.0] * 20 + [20.0] * 20, "--shape", "soak")
    assert summary.drift == pytest.approx(2.0, rel=0.03)
    assert "p99 of the last quarter over that of the first: 2.0" in summary.as_text()


def test_what_is_over_a_threshold_is_told_in_the_end() -> None:
    summary = run([10.0] * 20 + [Outcome.FAILED] * 20, "--p99", "5", "--p99", "b=1")
    assert summary.faults[0].startswith("50.00% of all requests failed")
    assert len(summary.faults) == 3
    assert summary.as_text().endswith(
        "\n".join(["Failed:", *(f"  {fault}" for fault in summary.faults)]) + "\n"
    )
    assert summary.as_json()["passed"] is False


def test_latencies_without_end_are_never_in_words_and_null_in_json() -> None:
    summary = run([Outcome.UNANSWERED] * 40, "--shape", "steps")
    assert "never" in summary.as_text()
    text = json.dumps(summary.as_json(), allow_nan=False)
    assert json.loads(text)["requests"][-1]["p99"] is None


def test_what_two_workers_were_told_differently_fails_a_run() -> None:
    session = Session(options())
    session.ledger.end("a", 1000, Outcome.ANSWERED, 1.0)
    session.memory.merge({"cat.png by a/1": "cat"})
    session.memory.merge({"cat.png by a/1": "dog"})
    assert summarise(session).faults == ["cat.png by a/1: dog, and cat before"]


def test_a_run_that_found_nothing_to_load_says_why_and_no_more() -> None:
    session = Session(options())
    session.error = "There is no gateway at all."
    assert summarise(session).faults == ["There is no gateway at all."]


def test_load_of_the_open_workload_is_told_in_arrivals() -> None:
    text = run([5.0] * 40, "--workload", "open", "--arrival-rate", "3", "--shape", "spike").as_text()
    assert "Open workload, shape spike, up to 24 arrivals/s" in text
    assert "from when a request was to be sent" in text
