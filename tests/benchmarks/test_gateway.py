"""The gateway's benchmark: run for a moment on a tiny model, and held to what it says of its figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from classified import expect, find_bundle, find_images
from gateway_report import BARE, SESSION, Figures, Side, compare, ratio_sheet
from http_load import LoadError
from measuring import check_class, measure_server
from servers import GATEWAY, TORCHSERVE
from support.digits import digit_pngs
from support.tiny import make_tiny_bundle, solid_png

from holdfast.errors import UsageError

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "gateway.py"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a picture of each class of the tiny model, and a file that is none."""
    directory = tmp_path_factory.mktemp("pictures")
    for colour in ("red", "green", "blue"):
        (directory / f"{colour}.png").write_bytes(solid_png(colour))
    (directory / "README.md").write_text("Pictures.\n")
    return directory


def benchmark(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the script as a user does."""
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def outcome(
    tiny_store: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, dict[str, Any]]:
    """What a short run printed, and the file that it wrote."""
    path = tmp_path_factory.mktemp("results") / "gateway.json"
    settings = ("--seconds", "0.2", "--rounds", "3", "--callers", "1", "--callers", "4")
    done = benchmark(
        "--store", tiny_store, "--images", pictures, "--no-torchserve", *settings, "--json", path
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, json.loads(path.read_text())


def test_every_side_is_measured_in_every_round(outcome: tuple[str, dict[str, Any]]) -> None:
    _, content = outcome
    measured = [(each["side"], each["callers"], each["round"]) for each in content["measurements"]]
    sides = [(GATEWAY, 1), (BARE, 1), (GATEWAY, 4), (BARE, 4), (SESSION, 1)]
    assert sorted(measured) == sorted((*side, number) for side in sides for number in (1, 2, 3))
    assert all(each["images"] > 0 and 0 < each["p50"] <= each["p99"] for each in content["measurements"])


def test_the_ratios_are_those_of_the_measurements(outcome: tuple[str, dict[str, Any]]) -> None:
    _, content = outcome

    def rates(side: str) -> list[float]:
        return [
            each["rate"] for each in content["measurements"] if (each["side"], each["callers"]) == (side, 4)
        ]

    (found,) = (each for each in content["comparisons"] if each["callers"] == 4)
    assert (found["other"], found["figure"]) == (BARE, "rate")
    assert found["ratio"]["values"] == pytest.approx(np.divide(rates(GATEWAY), rates(BARE)).tolist())
    assert found["ratio"]["median"] == pytest.approx(np.median(found["ratio"]["values"]))


def test_what_is_printed_says_where_and_how_it_was_measured(outcome: tuple[str, dict[str, Any]]) -> None:
    printed, content = outcome
    for words in ("Machine: ", "onnxruntime ", "tiny version 1", "3 rounds of 0.2 s", "closed loop"):
        assert words in printed
    assert content["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert "other processes used" in printed


@pytest.mark.torchserve
def test_torchserve_is_measured_with_the_same_images_and_model(digits_store: Path, tmp_path: Path) -> None:
    for number, content in enumerate(digit_pngs(3)):
        (tmp_path / f"{number}.png").write_bytes(content)
    path = tmp_path / "gateway.json"
    settings = ("--seconds", "0.3", "--rounds", "1", "--callers", "2", "--archive-options", "--batch-delay 1")
    done = benchmark("--store", digits_store, "--images", tmp_path, *settings, "--json", path)
    assert done.returncode == 0, done.stderr
    content = json.loads(path.read_text())
    assert [each["side"] for each in content["measurements"]] == [GATEWAY, BARE, TORCHSERVE, SESSION]
    compared = {(each["other"], each["figure"]) for each in content["comparisons"]}
    assert compared == {(BARE, "rate"), (TORCHSERVE, "rate"), (TORCHSERVE, "p50"), (TORCHSERVE, "p99")}
    assert "holdfast archive --batch-delay 1" in done.stdout


def test_what_cannot_be_measured_is_said_without_a_trace(tmp_path: Path, tiny_store: Path) -> None:
    done = benchmark("--store", tiny_store, "--images", tmp_path)
    assert done.returncode == 2
    assert "There are no image files" in done.stderr
    assert "Traceback" not in done.stderr


def figures(rate: float, p99: float) -> Figures:
    """A measurement."""
    return Figures(rate=rate, p50=p99 / 2, p99=p99, cpu=0.001, images=100)


def test_the_verdicts_follow_the_medians_of_the_paired_ratios() -> None:
    rounds = {
        Side(GATEWAY, 16): [figures(80, 0.2), figures(90, 0.2), figures(50, 0.2)],
        Side(BARE, 16): [figures(100, 0.01), figures(100, 0.01), figures(50, 0.01)],
        Side(TORCHSERVE, 16): [figures(40, 0.1), figures(100, 0.1), figures(25, 0.5)],
        Side(SESSION, 1): [figures(200, 0.005)] * 3,
    }
    found = {(each.other, each.figure): each for each in compare(rounds)}
    assert set(found) == {(BARE, "rate"), (TORCHSERVE, "rate"), (TORCHSERVE, "p50"), (TORCHSERVE, "p99")}
    assert found[BARE, "rate"].ratio.values == (0.8, 0.9, 1.0)
    assert found[BARE, "rate"].met
    assert found[TORCHSERVE, "rate"].ratio.median == 2.0
    assert found[TORCHSERVE, "rate"].met
    assert found[TORCHSERVE, "p99"].ratio.median == 2.0
    assert found[TORCHSERVE, "p99"].met is False
    (bare, torchserve) = ratio_sheet(compare(rounds), 3).rows
    assert bare[-1] == "images/s at least 0.9: yes"
    assert torchserve[-1] == "images/s above 1: yes; p99 below 1: NO"


def test_with_one_caller_the_latencies_are_compared_with_the_bare_loop_too() -> None:
    rounds = {Side(GATEWAY, 1): [figures(50, 0.02)], Side(BARE, 1): [figures(100, 0.01)]}
    assert {each.figure: each.ratio.median for each in compare(rounds)} == {"rate": 0.5, "p50": 2, "p99": 2}
    assert all(each.met is None for each in compare(rounds))


def test_an_image_on_which_the_model_cannot_decide_is_refused(pictures: Path) -> None:
    files = find_images(pictures)
    assert [file.name for file in files] == ["blue.png", "green.png", "red.png"]
    assert expect(files, [[0, 0, 9], [0, 9, 0], [9, 0, 0]]).expected == [2, 1, 0]
    with pytest.raises(UsageError, match=r"cannot decide on .*green\.png"):
        expect(files, [[0, 0, 9], [0, 9, 9.0001], [9, 0, 0]])


def test_of_several_models_the_first_is_measured_unless_another_is_named(tmp_path: Path) -> None:
    make_tiny_bundle(tmp_path, "one")
    assert find_bundle(tmp_path, None).name == "one"
    make_tiny_bundle(tmp_path, "two")
    make_tiny_bundle(tmp_path, "two", "2")
    assert find_bundle(tmp_path, None).name == "one"
    assert find_bundle(tmp_path, "two").version == "2"
    assert find_bundle(tmp_path, "two/1").version == "1"


class AlwaysGreen(BaseHTTPRequestHandler):
    """A server that is quick, and wrong about most images."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        answer = b'{"class_index": 1}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_details: object) -> None:
        """Not on the tests' output."""


class Green:
    """The part of a server's process that a measurement asks for."""

    name = "green"
    address = ("", 0)

    def cpu_seconds(self) -> float:
        """Nothing is counted."""
        return 0.0


@pytest.fixture
def green(listen: Callable[[type[BaseHTTPRequestHandler]], HTTPServer]) -> Green:
    """The wrong server, listening."""
    server = Green()
    server.address = listen(AlwaysGreen).server_address
    return server


def test_a_wrong_answer_ends_the_benchmark(green: Green, pictures: Path) -> None:
    files = find_images(pictures)
    right = expect(files, [[0, 9, 0]] * 3)
    requests = right.requests("/", "here")
    assert measure_server(green, requests, check_class("green", right), 2, 0.1).images > 0
    wrong = check_class("green", expect(files, [[0, 9, 0], [0, 9, 0], [9, 0, 0]]))
    with pytest.raises(LoadError, match=r"green says class 1 for .*red\.png where the session says 0"):
        measure_server(green, requests, wrong, 2, 0.1)
