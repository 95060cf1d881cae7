"""What locust's users make of a server that does not do as it should."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.locusts import classification, locust, locusts, stand_in


def test_each_wrong_answer_is_a_failure_and_refusals_are_honoured(tmp_path: Path) -> None:
    script: list[tuple[int, dict[str, str], Any]] = [
        (200, {}, classification()),
        (200, {}, {"hello": "world"}),
        (200, {}, classification() | {"predictions": []}),
        (500, {}, {"type": "/problems#internal-error"}),
        (503, {}, {}),
        (0, {}, None),
        (503, {"Retry-After": "1"}, {}),
        (429, {"Retry-After": "1"}, {}),
    ]
    came: list[float] = []

    def play(number: int, _: str) -> tuple[int, dict[str, str], Any]:
        came.append(time.monotonic())
        return script[number] if number < len(script) else (200, {}, classification())

    with stand_in(play) as url:
        run = locust(
            url, tmp_path, "-u", "1", "-t", "30s", "--max-requests", "9", "ClassifySmall", "--think", "0.05"
        )
    row = run.requests("all")
    assert (row["failed"], row["unanswered"], row["refused"]) == (4, 1, 2), run.log
    assert row["answered"] >= 1
    assert run.code == 1
    assert "failed, more than 0.00% (--fail-ratio)" in run.out
    for fault in ("not as it is documented", "0 predictions of tiny for 1 images", "internal-error"):
        assert fault in run.log
    assert "status 503: {}, without Retry-After" in run.log
    assert "(refused)" in run.log
    refused = script.index((503, {"Retry-After": "1"}, {}))
    assert came[refused + 1] - came[refused] >= 1.0
    assert came[refused + 2] - came[refused + 1] >= 1.0


def test_the_same_image_with_another_class_or_another_defence_than_asked_for_is_a_failure(
    tmp_path: Path,
) -> None:
    def fickle(number: int, path: str) -> tuple[int, dict[str, str], Any]:
        asked = parse_qs(urlsplit(path).query).get("defence", ["none"])[0]
        defence = asked if number < 40 else "none"
        return 200, {}, classification("red" if number < 40 else "green", defence)

    with stand_in(fickle) as url:
        run = locust(
            url, tmp_path, "-u", "2", "-t", "30s", "--max-requests", "100", "ClassifySmall", "Defended"
        )
    assert run.code == 1
    assert "by tiny/1, none: green, and red before" in run.log
    assert "the defence none" in run.log
    assert {"classify behind imt", "classify behind imt+"} <= run.names()


def test_a_stall_shows_in_everyone_who_came_during_it_and_not_only_in_who_was_waited_for(
    tmp_path: Path,
) -> None:
    def stalling(number: int, _: str) -> tuple[int, dict[str, str], Any]:
        if number == 10:
            time.sleep(1.5)
        return 200, {}, classification()

    both = ("-t", "3s", "--seed", "1", "ClassifySmall")
    with stand_in(stalling) as one, stand_in(stalling) as other:
        # The same load, but for the stall: about 25 per second.
        closed, opened = locusts(
            [
                (one, ("-u", "1", "--think", "0.04", *both)),
                (other, ("--workload", "open", "-u", "25", *both)),
            ],
            tmp_path,
        )
    for run in (closed, opened):
        assert run.code == 0, run.log
        assert run.requests("all")["requests"] > 25
    # Of those who came in the 1.5 s of the stall, the closed workload has one, and the open one has all.
    assert closed.requests("all")["p95"] < 500 < opened.requests("all")["p95"]
