"""`holdfast worker` says what is wrong with its settings, and says nothing but what is its own."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from support.cli import spawn
from support.jobs import Backlog

from serving.jobs.worker import lower_priority


@pytest.mark.parametrize(
    ("url", "code", "words"),
    [
        ("mysql://db/jobs", 2, "--jobs-database cannot be used, and is not shown"),
        ("sqlite:////proc/nothing/jobs.sqlite", 1, "The storage of jobs cannot be used"),
        ("postgresql://holdfast:secret@127.0.0.1:1/jobs", 1, "The storage of jobs cannot be used"),
    ],
)
def test_database_that_cannot_be_used_ends_it_in_words(
    tiny_store: Path, url: str, code: int, words: str
) -> None:
    outcome = spawn("worker", "--store", tiny_store, "--jobs-database", url)
    assert outcome.code == code
    assert words in outcome.err
    assert "Traceback" not in outcome.err
    assert "secret" not in outcome.err


def test_everything_that_is_logged_is_in_the_form_that_is_set_and_its_own(
    tiny_store: Path, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    backlog = Backlog(url, tiny_store)
    job = backlog.submit(4, steps=3)
    outcome = spawn(
        "worker",
        "--until-idle",
        "0.5",
        "--threads",
        "1",
        HOLDFAST_MODEL_STORE=str(tiny_store),
        HOLDFAST_JOBS_DATABASE=url,
        HOLDFAST_LOG_FORMAT="json",
    )
    assert (outcome.code, outcome.out) == (0, "")
    assert backlog.state(job) == "succeeded"
    backlog.close()
    entries = [json.loads(line) for line in outcome.err.splitlines()]
    assert {entry["logger"] for entry in entries} == {"serving.jobs.worker"}
    (of_chunk,) = [entry for entry in entries if "chunk" in entry]
    assert (of_chunk["job"], of_chunk["chunk"], of_chunk["request_id"]) == (job, 0, "test")


@pytest.mark.parametrize(("found", "wanted", "left"), [(0, 0, 0), (0, 19, 19), (5, 0, 5), (5, 19, 19)])
def test_priority_is_never_raised(
    monkeypatch: pytest.MonkeyPatch, found: int, wanted: int, left: int
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(os, "getpriority", lambda _which, _who: found)
    monkeypatch.setattr(os, "setpriority", lambda _which, _who, nice: asked.append(nice))
    lower_priority(wanted)
    assert asked == [left]
