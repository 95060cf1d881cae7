"""What came back, and whether it is what the gateway's documentation says."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

#: A gateway that is asked for more than it can do says so by one of these, and Retry-After.
_REFUSALS = (429, 503)
#: Seconds; a server that asks for more of a caller's patience is asked again anyway.
_LONGEST_PAUSE = 60.0
_SHOWN = 160


@dataclass(frozen=True)
class Answer:
    """A whole answer.

    Attributes:
        status: The HTTP status.
        headers: With names in lower case.
        body: Unpacked.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, read as JSON.

        Raises:
            ValueError: It is none.
        """
        return json.loads(self.body)

    def describe(self) -> str:
        """Status and beginning, for a message."""
        text = self.body[:_SHOWN].decode(errors="replace")
        with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
            text = self.json()["type"].removeprefix("/problems#") or text
        return f"status {self.status}: {text}"


#: What is wrong with an answer, in words that are the same for the same fault; None where nothing is.
Judge = Callable[[Answer], str | None]


def pause_after(answer: Answer) -> float | None:
    """Seconds until the caller is to come back, where the answer is a refusal; None where it is another."""
    if answer.status not in _REFUSALS:
        return None
    seconds = answer.headers.get("retry-after", "")
    return min(float(seconds), _LONGEST_PAUSE) if seconds.isdecimal() else None


def judge(answer: Answer, status: int, rule: Judge) -> str | None:
    """What is wrong with an answer that should have a status and follow a rule.

    A rule may take for granted what the documentation promises: where something is missing, that is a fault.
    """
    if answer.status != status:
        if answer.status in _REFUSALS:
            return f"{answer.describe()}, without Retry-After"
        return answer.describe()
    try:
        return rule(answer)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        return f"not as it is documented: {type(error).__name__}: {error}"


def judge_refused_input(answer: Answer, *, protocol: str = "v1") -> str | None:
    """What is wrong with the answer to input that no server can use.

    Args:
        answer: The answer.
        protocol: ``v1`` answers with problem documents (RFC 9457), ``v2`` as the Open Inference Protocol has
            it.
    """
    text = answer.body.decode(errors="replace")
    if "Traceback (most recent call last)" in text:
        return f"status {answer.status} shows a stack trace"
    if answer.status >= 500 and answer.status != 503:
        return answer.describe()
    if answer.status < 400:
        return f"status {answer.status} for garbage"
    try:
        content = answer.json()
    except ValueError:
        return f"status {answer.status}, and no JSON"
    if not isinstance(content, dict):
        return f"status {answer.status}, and no problem document"
    if protocol == "v2" and set(content) == {"error"} and isinstance(content["error"], str):
        return None
    if answer.headers.get("content-type") != "application/problem+json":
        return f"status {answer.status} as {answer.headers.get('content-type')}, not application/problem+json"
    missing = {"type", "title", "status", "detail", "request_id"} - set(content)
    if missing:
        return f"status {answer.status}, a problem document without {', '.join(sorted(missing))}"
    if content["status"] != answer.status:
        return f"status {answer.status}, and the document says {content['status']}"
    return None


class Memory:
    """What was answered first to each question: the same image must get the same class every time.

    One for a process; the master holds those of its workers against one another (:meth:`merge`).
    """

    def __init__(self) -> None:
        self._known: dict[str, str] = {}
        self._news: dict[str, str] = {}
        #: What was answered in two ways, as sentences.
        self.contradictions: list[str] = []

    def check(self, question: str, answer: str) -> str | None:
        """What is wrong with an answer, if the same question had another one before."""
        before = self._known.get(question)
        if before is None:
            self._known[question] = self._news[question] = answer
        elif before != answer:
            return f"{question}: {answer}, and {before} before"
        return None

    def take(self) -> dict[str, str]:
        """What is known and was not handed over yet."""
        news, self._news = self._news, {}
        return news

    def merge(self, news: Mapping[str, str]) -> None:
        """Hold what another process knows against what is known here."""
        for question, answer in news.items():
            fault = self.check(question, answer)
            if fault is not None and fault not in self.contradictions:
                self.contradictions.append(fault)
