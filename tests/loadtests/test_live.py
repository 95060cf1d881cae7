"""Locust's users against a real gateway: alone, on two workers, and as ``make loadtest`` runs them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]
import pytest
from support.gateway_process import free_port, running_gateway
from support.locusts import ROOT, finish, locust, locusts, start_locust

from loadtests.answers import judge_refused_input
from loadtests.garbage import GARBAGE, Garbage, Writer
from loadtests.raw_http import GoneError, exchange
from loadtests.target import Target, find_target


@pytest.fixture(scope="module")
def url(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway that waits a second for what comes slowly, and carries out jobs."""
    jobs = tmp_path_factory.mktemp("jobs") / "jobs.sqlite"
    with running_gateway(
        tiny_store,
        HOLDFAST_JOBS_DATABASE=f"sqlite:///{jobs}",
        HOLDFAST_HEADER_TIMEOUT="1",
        HOLDFAST_BODY_TIMEOUT="1",
        HOLDFAST_LOG_FORMAT="plain",
    ) as found:
        yield found


@pytest.fixture(scope="module")
def target(url: str) -> Target:
    return find_target(url)


@pytest.mark.slow
def test_every_kind_of_user_gets_what_it_asks_for(url: str, tmp_path: Path) -> None:
    run = locust(
        url,
        tmp_path,
        *("-u", "20", "-t", "6s", "--think", "0.2", "--drain", "90", "--knee-of", "classify small"),
        *("--csv", str(tmp_path / "report"), "--html", str(tmp_path / "report.html")),
    )
    assert run.code == 0, run.out + run.log[-3000:]
    asked = " ".join(run.names())
    for kind in ("small", "large", "batch of", "behind none", "attack", "job create", "infer", "hostile:"):
        assert kind in asked, asked
    assert run.requests("all")["requests"] > 20
    assert run.out.rstrip().endswith("Passed.")
    assert "classify small" in (tmp_path / "report_stats.csv").read_text()
    assert "classify small" in (tmp_path / "report.html").read_text()
    # What it began it has taken away again.
    jobs = exchange(
        url, [f"GET /v1/jobs HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\n\r\n".encode()], patience=9
    )
    assert jobs.json()["jobs"] == []


@pytest.mark.parametrize("kind", [kind for kind in GARBAGE if kind != "slow body"])
def test_garbage_is_refused_in_words(target: Target, kind: str) -> None:
    faults = [(n, fault) for n, each in enumerate(garbage(target, kind)) if (fault := send(target, each))]
    assert faults == []


def test_what_comes_slowly_is_refused_in_time(target: Target) -> None:
    began = time.monotonic()
    assert [send(target, each) for each in garbage(target, "slow body")] == [None, None]
    assert time.monotonic() - began < 15


def garbage(target: Target, kind: str) -> list[Garbage]:
    """All requests of a kind."""
    writer = Writer(urlsplit(target.url).netloc, {}, target.model, Random(0))
    return [make(writer) for make in GARBAGE[kind]]


def send(target: Target, each: Garbage) -> str | None:
    """What is wrong with the answer to garbage, if anything is."""
    try:
        answer = exchange(
            target.url, each.pieces, patience=20, half_close=each.half_close, method=each.method
        )
    except GoneError as error:
        return None if each.half_close else str(error)
    return judge_refused_input(answer, protocol=each.protocol)


def test_a_run_over_its_threshold_fails_and_says_of_which(url: str, tmp_path: Path) -> None:
    run = locust(
        url,
        tmp_path,
        *("--workload", "open", "-u", "10", "-t", "2s", "ClassifySmall"),
        *("--p99", "0.001", "--p95", "classify*=60000", "--exit-code-on-error", "7"),
    )
    assert run.code == 7, run.log
    assert "the limit is 0.001 ms (--p99)" in run.out
    assert len(run.summary["faults"]) == 1
    assert run.summary["sent_late_p99_ms"] > 0


def test_where_there_is_nothing_to_load_it_says_so(url: str, tmp_path: Path) -> None:
    words = {
        "The gateway has no model 'nobody'. It has tiny.": ("--model", "nobody"),
        "192.0.2.1 is not this machine.": ("--host", "http://192.0.2.1:80"),
    }
    runs = locusts([(url, ("-u", "1", "-t", "2s", *options)) for options in words.values()], tmp_path)
    for run, told in zip(runs, words, strict=True):
        assert run.code == 2
        assert told in run.log


@pytest.mark.slow
def test_two_workers_are_one_load(url: str, tmp_path: Path) -> None:
    port = str(free_port())
    # No option but where the master is and who there may be: the rest comes from there.
    options = ("--worker", "--master-host", "127.0.0.1", "--master-port", port, "ClassifySmall")
    workers = [start_locust(url, *options) for _ in range(2)]
    summary = tmp_path / "summary.json"
    master = start_locust(
        url,
        *("--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--expect-workers", "2"),
        *("--headless", "--workload", "open", "--arrival-rate", "2", "-u", "10", "-t", "6s"),
        *("--shape", "steps", "--step-users", "5", "--knee-p99", "60000", "--knee-of", "classify small"),
        *("--p99", "nothing=1", "--summary-json", str(summary), "ClassifySmall"),
    )
    run = finish(master, summary)
    ended = [finish(worker) for worker in workers]
    assert [each.code for each in ended] == [0, 0], ended[0].log
    assert run.code == 1, run.log
    assert run.summary["faults"] == ["Nothing was measured of 'nothing', which --p99 is about."]
    assert [level["load"] for level in run.summary["levels"]] == [10.0, 20.0]
    assert run.summary["knee"]["level"]["load"] == 20.0
    assert run.summary["knee"]["beyond"] is None
    row = run.requests("all")
    # 10 arrivals per second for 3 s, 20 for as long, give or take a late step and what Poisson processes do.
    assert 30 < row["requests"] < 200
    assert row["answered"] == row["requests"]
    # Locust's own table has those of both workers, too.
    counted = re.search(r"Aggregated +(\d+) ", run.log)
    assert counted is not None
    assert int(counted[1]) == row["requests"]


def loadtest(store: Path, reports: Path, *arguments: str) -> subprocess.Popen[str]:
    """What ``make loadtest`` runs."""
    return subprocess.Popen(
        [
            sys.executable,
            "loadtests/run.py",
            "--store",
            str(store),
            "--reports",
            str(reports),
            "--",
            *arguments,
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_the_load_test_starts_a_gateway_and_leaves_nothing_running_when_it_is_interrupted(
    tiny_store: Path, tmp_path: Path
) -> None:
    process = loadtest(tiny_store, tmp_path, "-u", "1", "-t", "100s", "--think", "0.1", "ClassifySmall")
    started: list[psutil.Process] = []
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if "All users spawned" in line:
                break
        started = psutil.Process(process.pid).children(recursive=True)
        assert any("serve" in each.cmdline() for each in started)
        process.send_signal(signal.SIGINT)
        out, log = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130, log
    assert "Closed workload, shape constant" in out
    assert [each for each in started if each.is_running()] == []
    assert (tmp_path / "summary.json").exists()


@pytest.mark.slow
def test_the_load_test_ends_with_the_exit_code_of_its_thresholds(tiny_store: Path, tmp_path: Path) -> None:
    process = loadtest(tiny_store, tmp_path, "-u", "2", "-t", "1s", "--p99", "0.001", "ClassifySmall")
    run = finish(process, tmp_path / "summary.json")
    assert run.code == 1, run.log
    assert "the limit is 0.001 ms (--p99)" in run.out
    assert {path.name for path in tmp_path.iterdir()} >= {"report.html", "report_stats.csv", "summary.json"}
