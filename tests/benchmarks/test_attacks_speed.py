"""The attacks' speed benchmark: its sides run the same attack, and its ratios are its measurements'."""

from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter

import attacks_speed
import numpy as np
import pgd_peers
import pytest
from attacks_speed import ClockedOracle, DisagreementError, check, main, make_sides
from attacks_speed_report import GRADIENTS, OURS, OURS_TORCH, Turn, overhead_sheet, ratio_sheet
from pgd_peers import BARE, PEERS, Peer, Settings
from support.digits import digits

from holdfast.attacks import Loss, PGDParameters, attack
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.bundle import resolve
from holdfast.errors import UsageError


def test_every_side_finds_the_same_images(digits_store: Path) -> None:
    images, labels = (array[:6] for array in digits())
    settings = Settings(epsilon=0.2, step_size=0.04, steps=7)
    sides = make_sides(resolve("digits", digits_store), settings, threads=1, clock=perf_counter)
    assert {GRADIENTS, OURS, OURS_TORCH, BARE, "foolbox"} <= set(sides)
    found = {name: side.work(images, labels) for name, side in sides.items()}
    check(found, settings)
    for name in set(found) - {GRADIENTS}:
        assert np.abs(found[name] - images).max() == pytest.approx(0.2, abs=1e-6), name
        assert found[name].min() >= 0, name
        assert found[name].max() <= 1, name


def test_a_side_with_another_attack_is_no_side() -> None:
    here = np.zeros((2, 1, 4, 4), dtype=np.float32)
    there = here.copy()
    there[1] += 0.02
    with pytest.raises(DisagreementError, match=r"foolbox .* 50\.0% of the pixels"):
        check({OURS: here, "foolbox": there}, Settings())
    check({OURS: here, GRADIENTS: here + 1}, Settings())  # which is no attack


def test_a_peer_that_is_not_installed_is_left_out(
    tmp_path: Path,
    digits_store: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    absent = Peer("nobody's", "nobodys-attacks", "nobodys_attacks", pgd_peers.bare_loop)
    monkeypatch.setattr(attacks_speed, "PEERS", (*PEERS[:2], absent))
    results = tmp_path / "speed.json"
    main(
        "digits",
        store=digits_store,
        batches=[1, 2],
        threads=[1],
        steps=2,
        images="noise",
        seconds=0,
        clock="wall",
        rounds=3,
        json_path=results,
    )
    assert "Not installed, left out: nobody's." in capsys.readouterr().out
    content = json.loads(results.read_text())
    assert content["missing"] == ["nobody's"]
    sides = {entry["side"] for entry in content["measurements"]}
    assert sides == {GRADIENTS, OURS, OURS_TORCH, BARE, "foolbox"}
    assert {(entry["threads"], entry["batch"]) for entry in content["measurements"]} == {(1, 1), (1, 2)}
    for entry in content["measurements"]:
        assert len(entry["seconds"]) == 3
        if entry["side"] in (OURS, OURS_TORCH):
            assert all(0 < m < s for m, s in zip(entry["model_seconds"], entry["seconds"], strict=True))


def test_the_clock_is_around_every_call_of_the_model_and_changes_nothing(digits_store: Path) -> None:
    oracle = OnnxOracle(resolve("digits", digits_store), threads=1)
    clocked = ClockedOracle(oracle, perf_counter)
    images, labels = (array[:3] for array in digits())
    parameters = PGDParameters(epsilon=0.1, step_size=0.05, steps=2)
    plain = attack(oracle, images, labels, parameters)
    np.testing.assert_array_equal(attack(clocked, images, labels, parameters).images, plain.images)
    assert clocked.seconds > 0
    before = clocked.seconds
    clocked.gradient(images, labels, Loss.CROSS_ENTROPY)
    between = clocked.seconds
    clocked.logits(images)
    assert before < between < clocked.seconds


def test_cpu_time_is_told_of_one_thread_alone() -> None:
    with pytest.raises(UsageError, match="all threads together"):
        main(threads=[2], clock="cpu")


def test_ratios_are_taken_within_a_round() -> None:
    turns = {
        GRADIENTS: [Turn(1.0), Turn(10.0), Turn(2.0)],
        OURS: [Turn(1.1, 1.0), Turn(11.0, 10.0), Turn(2.2, 2.0)],
        BARE: [Turn(2.2), Turn(22.0), Turn(4.4)],
        OURS_TORCH: [Turn(3.3, 3.0), Turn(33.0, 30.0), Turn(6.6, 6.0)],
    }
    assert ratio_sheet({(1, 8): turns}).rows == [("1", "8", "2.00 (2.00 – 2.00)", "3.00 (3.00 – 3.00)")]
    (row,) = overhead_sheet({(1, 8): turns}, 20).rows
    assert [float(cell.split()[0]) for cell in row] == [1, 8, 10, 10, 1.1]
