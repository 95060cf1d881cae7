"""What counts as an answer, as a refusal, and as a fault; and whom load may reach."""

from __future__ import annotations

import json
from typing import Any

import pytest

from loadtests.answers import Answer, Memory, judge, judge_refused_input, pause_after
from loadtests.loopback import check_host

PROBLEM = {"type": "/problems#x", "title": "t", "status": 422, "detail": "d", "request_id": "r"}


def answer(status: int, content: Any = None, **headers: str) -> Answer:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


def problem(status: int = 422, **changes: Any) -> Answer:
    return answer(status, PROBLEM | {"status": status} | changes, content_type="application/problem+json")


@pytest.mark.parametrize(
    ("found", "seconds"),
    [
        (answer(503, {}, retry_after="3"), 3.0),
        (answer(429, {}, retry_after="0"), 0.0),
        (answer(503, {}, retry_after="86400"), 60.0),
        (answer(503, {}), None),
        (answer(503, {}, retry_after="soon"), None),
        (answer(500, {}, retry_after="3"), None),
        (answer(200, {}, retry_after="3"), None),
    ],
)
def test_a_refusal_says_when_to_come_back(found: Answer, seconds: float | None) -> None:
    assert pause_after(found) == seconds


def test_an_answer_that_is_not_as_documented_is_a_fault() -> None:
    def rule(found: Answer) -> str | None:
        return None if found.json()["predictions"][0]["label"] == "cat" else "no cat"

    assert judge(answer(200, {"predictions": [{"label": "cat"}]}), 200, rule) is None
    assert judge(answer(200, {"predictions": [{"label": "dog"}]}), 200, rule) == "no cat"
    for content in ({}, {"predictions": []}, {"predictions": None}, [], b"<html>", "text"):
        fault = judge(answer(200, content), 200, rule)
        assert fault is not None
        assert fault.startswith("not as it is documented")
    assert judge(answer(202, {"predictions": [{"label": "cat"}]}), 200, rule) is not None
    assert judge(problem(500, type="/problems#internal-error"), 200, rule) == "status 500: internal-error"
    assert "without Retry-After" in str(judge(problem(503), 200, rule))


@pytest.mark.parametrize("status", [400, 404, 413, 422, 503])
def test_garbage_is_to_be_answered_by_a_problem_document(status: int) -> None:
    assert judge_refused_input(problem(status)) is None


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (problem(500), "status 500"),
        (problem(504), "status 504"),
        (problem(200), "for garbage"),
        (answer(422, b"sorry"), "no JSON"),
        (answer(422, ["sorry"]), "no problem document"),
        (answer(422, PROBLEM, content_type="application/json"), "as application/json"),
        (answer(422, {"type": "x"}, content_type="application/problem+json"), "without detail"),
        (answer(422, PROBLEM | {"status": 400}, content_type="application/problem+json"), "says 400"),
        (problem(422, detail="Traceback (most recent call last):\n"), "stack trace"),
        (answer(400, {"error": "text"}), "as None"),
    ],
)
def test_anything_else_for_garbage_is_a_fault(found: Answer, words: str) -> None:
    assert words in str(judge_refused_input(found))


def test_the_open_inference_protocol_words_errors_in_its_own_way() -> None:
    assert judge_refused_input(answer(400, {"error": "text"}), protocol="v2") is None
    assert judge_refused_input(answer(400, {"error": "text", "more": 1}), protocol="v2") is not None


def test_the_same_question_has_the_same_answer() -> None:
    memory = Memory()
    assert memory.check("cat.png by a/1", "cat") is None
    assert memory.check("cat.png by a/1", "cat") is None
    assert memory.check("cat.png by a/2", "dog") is None
    assert memory.check("cat.png by a/1", "dog") == "cat.png by a/1: dog, and cat before"


def test_answers_of_two_processes_are_held_against_one_another() -> None:
    master, workers = Memory(), [Memory(), Memory()]
    workers[0].check("q", "cat")
    workers[1].check("q", "dog")
    for worker in workers:
        master.merge(worker.take())
        assert worker.take() == {}
    assert master.contradictions == ["q: dog, and cat before"]


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8000",
        "http://127.9.9.9:1/",
        "https://[::1]:8443",
        "http://localhost:80",
        "http://a.localhost",
    ],
)
def test_load_may_go_to_this_machine(url: str) -> None:
    assert check_host(url, allow_remote=False) == url.rstrip("/")


@pytest.mark.parametrize(
    "url", ["http://example.com", "http://10.0.0.1:80", "http://0.0.0.0:80", "http://localhost.example.com"]
)
def test_load_goes_nowhere_else_unless_somebody_says_so(url: str) -> None:
    with pytest.raises(ValueError, match="--allow-remote"):
        check_host(url, allow_remote=False)
    assert check_host(url, allow_remote=True) == url


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8000",
        "ftp://127.0.0.1",
        "http://",
        "http://127.0.0.1/v1",
        "http://a:b@127.0.0.1",
        "http://127.0.0.1:99999",
    ],
)
def test_what_is_no_gateway_s_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="--host"):
        check_host(url, allow_remote=True)
