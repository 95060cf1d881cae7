"""The benchmark of servers: run for a moment on a tiny model, and held to what it says of its figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from classified import expect, find_bundle, find_images
from gateway_report import BARE, Figures, Side, compare
from http_load import LoadError
from machine import Memory
from peers.work import Plan
from servers import GATEWAY, ServerError
from serving_peers import Load, choose, fastest, visit_all
from serving_report import busy_with_others, by_callers, load_sheet, start_sheet
from serving_sides import ENVIRONMENTS, PEERS, Answer, Layout, Peer, read_gateway, read_protocol
from serving_visit import Contender, Visit, contender, started
from support.tiny import SCALE, solid_png

from holdfast.errors import UsageError

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "serving_peers.py"
#: Where the peers' environments are; without them the tests of real peers have nothing to run.
PLACES = Path(os.environ.get("PEER_ENVIRONMENTS") or ENVIRONMENTS)

#: A server of the standard library's that answers as the peers do, with whatever its environment says.
STAND_IN = """
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.path[:0] = os.environ["PYTHONPATH"].split(":")
from work import Plan, Work

plan = Plan.from_environment()
work = Work(plan)

class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        data = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(plan.delay)
        (answer,) = work.classify([work.decode(data)])
        if "WRONG" in os.environ:
            answer["probabilities"] = {name: 1 / 3 for name in answer["probabilities"]}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *details):
        pass

os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", "import time; time.sleep(300)"])
ThreadingHTTPServer(("127.0.0.1", plan.port), Answer).serve_forever()
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a picture of each class of the tiny model."""
    directory = tmp_path_factory.mktemp("pictures")
    for colour in ("red", "green", "blue"):
        (directory / f"{colour}.png").write_bytes(solid_png(colour))
    return directory


@pytest.fixture(scope="module")
def load(tiny_store: Path, pictures: Path) -> Load:
    """A short load, with what is right."""
    # The logits are ten times the mean of each channel, and green is #008000.
    images = expect(find_images(pictures), [[0, 0, SCALE], [0, SCALE * 128 / 255, 0], [SCALE, 0, 0]])
    return Load(find_bundle(tiny_store, None), images, [1, 2], seconds=0.2, warm_up=0.1, threads=1)


@pytest.fixture
def stand_in(tmp_path: Path) -> Peer:
    """A peer of which everything is known."""
    app = tmp_path / "stand_in.py"
    app.write_text(STAND_IN)
    return Peer(
        "stand-in",
        "numpy",
        "/classify",
        lambda content, media_type: (media_type, content),
        lambda python, _folder, _plan: [python, app],
        own_environment=False,
    )


def fails(python: Path, _folder: Path, _plan: Plan) -> list[str | Path]:
    """A command that ends at once."""
    return [python, "-c", "raise SystemExit('no model here')"]


def side(peer: Peer, load: Load, delay: float = 0.0) -> Contender:
    """A peer as it is to be measured."""
    return contender(peer, load.bundle, Layout(1, 1, delay), PLACES)


def test_a_visit_starts_a_server_checks_every_answer_and_ends_all_its_processes(
    stand_in: Peer, load: Load
) -> None:
    with started(side(stand_in, load), load.images, load.classes) as server:
        running = psutil.Process(server.pid).children(recursive=True)
        assert len(running) == 1
        assert server.memory().processes == 2
        assert server.cold_start > 0
        pid = server.pid
    assert not psutil.pid_exists(pid)
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in running)
    seen = load.visit(side(stand_in, load), [1, 2])
    assert set(seen.levels) == {1, 2}
    assert all(figures.images > 0 and 0 < figures.p50 <= figures.p99 for figures in seen.levels.values())
    assert 0 < seen.idle.pss <= seen.idle.rss


def test_a_probability_that_is_not_the_sessions_is_refused(stand_in: Peer, load: Load) -> None:
    wrong = replace(stand_in, settings={"WRONG": "1"})
    with pytest.raises(LoadError, match=r"gives .*blue\.png the probabilities"):
        load.visit(side(wrong, load), [1])


def test_a_server_that_ends_while_it_starts_is_told_with_what_it_wrote(stand_in: Peer, load: Load) -> None:
    broken = replace(stand_in, command=fails)
    with pytest.raises(ServerError, match=r"(?s)stand-in ended while it started.*no model here"):
        load.visit(side(broken, load), [1])


def test_of_several_layouts_the_fastest_is_measured_and_one_that_fails_is_not(
    stand_in: Peer, load: Load
) -> None:
    layouts = [Layout(1, 1, 0.1), Layout(1, 1, 0.0)]
    assert fastest(stand_in, layouts, load, PLACES) == layouts[1]
    broken = replace(stand_in, command=fails)
    with pytest.raises(ServerError, match="no model here"):
        fastest(broken, layouts, load, PLACES)


def test_layouts_use_all_cores_and_no_more() -> None:
    for peer in PEERS:
        for cores in (1, 2, 4, 6):
            layouts = peer.layouts(cores)
            assert len(set(layouts)) == len(layouts)
            assert all(max(1, each.workers) * each.threads == cores for each in layouts)
    assert Layout(0, 2, 0.001).describe() == "in process × 2, 1 ms"
    assert Layout(2, 1, 0.0).describe() == "2 × 1"


def test_a_plan_reaches_the_app_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(Path("/models/one/1"), 1234, 2, 4, 0.005, 16)
    for name, value in plan.as_environment().items():
        monkeypatch.setenv(name, value)
    assert Plan.from_environment() == plan


def test_the_answers_of_all_are_read_alike() -> None:
    one = {"label": "green", "class_index": 1, "probabilities": {"red": 0.25, "green": 0.75}}
    answer = Answer("green", [0.25, 0.75])
    assert read_gateway({"predictions": [one]}) == answer
    outputs = [{"name": "label", "data": ["green"]}, {"name": "probabilities", "data": [0.25, 0.75]}]
    assert read_protocol({"outputs": outputs}) == answer


def test_a_peer_that_is_not_known_is_refused() -> None:
    assert [peer.name for peer in choose(["ray serve", "LitServe"])] == ["LitServe", "Ray Serve"]
    assert len(choose(None)) == len(PEERS) == 5
    with pytest.raises(UsageError, match="no peer triton"):
        choose(["Triton"])


def figures(rate: float, p99: float = 0.1) -> Figures:
    """A measurement."""
    return Figures(rate=rate, p50=p99 / 2, p99=p99, cpu=0.001, images=100, others=0.5)


def visits(name: str, rates: list[float], bare: list[float], cold: float = 1.0) -> list[Visit]:
    """A side's visits, at 16 callers."""
    memory = Memory(3 * 2**20, 2 * 2**20, 4)
    return [
        Visit(name, cold, memory, memory, {16: figures(rate)}, figures(beside))
        for rate, beside in zip(rates, bare, strict=True)
    ]


def test_the_gateway_is_compared_with_the_loop_beside_it_and_with_each_peer_in_the_same_round() -> None:
    memory = Memory(2**20, 2**20, 1)
    seen = {
        GATEWAY: visits(GATEWAY, [90, 180, 90], [100, 200, 80]),
        BARE: [Visit(BARE, 0.1, memory, memory, {1: figures(rate)}) for rate in (100, 200, 80)],
        "LitServe": visits("LitServe", [45, 60, 180], [90, 120, 90], cold=5.0),
    }
    rounds = by_callers(seen)
    assert [each.rate for each in rounds[Side(BARE, 16)]] == [100, 200, 80]
    found = {(each.other, each.figure): each for each in compare(rounds)}
    assert found[BARE, "rate"].ratio.values == (0.9, 0.9, 1.125)
    assert found[BARE, "rate"].met
    assert found["LitServe", "rate"].ratio.values == (2, 3, 0.5)
    assert found["LitServe", "rate"].met
    assert found["LitServe", "p99"].met is False  # as long as ours is not ahead
    rows = {row[1]: row for row in load_sheet(seen).rows}
    assert rows["LitServe"][3] == "0.500 (0.500 – 1.250)"
    assert rows[BARE][3] == "1"
    starts = {row[0]: row for row in start_sheet(seen, {"LitServe": "2 × 1"}).rows}
    assert starts["LitServe"][1:5] == ("2 × 1", "4", "5.00 (5.00 – 5.00)", "2.00 (2.00 – 2.00)")
    assert busy_with_others(seen) == 0.5


def test_a_peer_that_fails_is_left_out_and_the_others_are_measured(stand_in: Peer, load: Load) -> None:
    broken = replace(stand_in, name="broken", command=fails)
    known = replace(load, callers=[1])
    ours = replace(side(stand_in, load), name=GATEWAY)
    failures: dict[str, str] = {}
    seen = visit_all([ours, side(broken, load)], known, 1, failures)
    assert {name: len(found) for name, found in seen.items()} == {GATEWAY: 1, BARE: 1}
    assert "no model here" in failures["broken"]


def test_the_whole_command_measures_the_gateway_where_no_peer_is_installed(
    tiny_store: Path, pictures: Path, tmp_path: Path
) -> None:
    path = tmp_path / "peers.json"
    options = [
        "--rounds",
        "2",
        "--seconds",
        "0.2",
        "--warm-up",
        "0.1",
        "--callers",
        "2",
        "--peer",
        "litserve",
    ]
    options += ["--environments", str(tmp_path / "none"), "--json", str(path)]
    command = [sys.executable, SCRIPT, "--store", tiny_store, "--images", pictures, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    content: dict[str, Any] = json.loads(path.read_text())
    assert "Left out: LitServe: there is no" in done.stdout
    assert [(visit["side"], visit["round"]) for visit in content["visits"]] == [
        (GATEWAY, 1),
        (GATEWAY, 2),
        (BARE, 1),
        (BARE, 2),
    ]
    ours = [visit for visit in content["visits"] if visit["side"] == GATEWAY]
    assert all(visit["cold_start"] > 0 and visit["loaded"]["pss"] > 2**20 for visit in ours)
    (found,) = content["comparisons"]
    rates = [(visit["levels"]["2"]["rate"], visit["beside"]["rate"]) for visit in ours]
    assert found["ratio"]["values"] == pytest.approx([rate / beside for rate, beside in rates])


def test_a_document_without_a_place_for_the_tables_is_refused_before_anything_is_measured(
    tmp_path: Path,
) -> None:
    command = [sys.executable, SCRIPT, "--update", tmp_path / "page.md", "--store", tmp_path / "none"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "has no place for this: the lines <!-- begin serving_peers -->" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.key)
def test_a_real_peer_answers_right_in_every_layout(peer: Peer, tiny_store: Path, load: Load) -> None:
    if why := peer.missing(PLACES):
        pytest.skip(f"{peer.name}: {why}; make it with benchmarks/peer_environments.py")
    patient = replace(load, seconds=1.0, warm_up=1.0)
    for layout in peer.layouts(2):
        seen = patient.visit(contender(peer, load.bundle, layout, PLACES), [1, 16])
        assert all(figures.images > 0 for figures in seen.levels.values())
        assert seen.loaded.processes >= 1
