"""Measuring: figures known by hand, worst cases, and what an interruption costs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.bench import OneOracle

from holdfast.attacks.loss import AnyLoss
from holdfast.attacks.oracle import GradientAnswer
from holdfast.bundle import Bundle
from holdfast.manifest import ThreatModel
from training.data import Split
from training.evaluation.headline import worst_case
from training.evaluation.ledger import Entry, Ledger
from training.evaluation.line import Line
from training.evaluation.measurement import Measurement
from training.evaluation.outcome import Outcome
from training.evaluation.runner import Images, Loaded, Runner

EIGHT = ThreatModel(norm="linf", epsilon=8 / 255)


class Threshold:
    """Class 1 where the mean of an image is above one half: an image is lost if its mean can cross it."""

    classes = 2

    def __init__(self, broken_at: int = 0) -> None:
        self.calls, self._broken_at = 0, broken_at

    def logits(self, images: np.ndarray) -> np.ndarray:
        mean = images.mean((1, 2, 3))
        return np.stack([0.5 - mean, mean - 0.5], axis=1).astype(np.float32)

    def gradient(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        loss: AnyLoss,
        targets: np.ndarray | None = None,
        originals: np.ndarray | None = None,
    ) -> GradientAnswer:
        del loss, targets, originals
        self.calls += 1
        if self.calls == self._broken_at:
            raise KeyboardInterrupt  # as if the power went
        away = np.where(labels == 1, -1.0, 1.0).astype(np.float32)[:, None, None, None]
        return GradientAnswer(self.logits(images), np.zeros(len(images)), np.broadcast_to(away, images.shape))


def loaded() -> Loaded:
    # Means 100/255, 124/255, 200/255 and 130/255; the last one is labelled wrongly on purpose.
    images = np.stack([np.full((1, 4, 4), level, dtype=np.uint8) for level in (100, 124, 200, 130)])
    return Loaded(Split(images, np.array([0, 0, 1, 0])), "made up", "four images")


@pytest.fixture
def bundle(digits_store: Path) -> Path:
    return next(digits_store.iterdir()) / "1"


def measure(
    bundle: Path,
    texts: list[str],
    threat: ThreatModel,
    ledgers: Path,
    oracle: Threshold | None = None,
    size: int = 3,
) -> dict[Measurement, Outcome]:
    what = [Measurement(bundle, "none", Line.parse(text, threat)) for text in texts]
    runner = Runner(Images("digits"), bundle.parent.parent, ledgers, batch_size=size)
    found = runner.run(what, loaded=loaded(), bench=OneOracle(oracle or Threshold()))
    return dict(zip(what, found, strict=True))


def test_figures_are_those_that_the_margins_dictate(bundle: Path, tmp_path: Path) -> None:
    # Within 8/255 only 124 can cross 127.5; within 40/255 also 100; 200 stays.
    for epsilon, held in ((8 / 255, 0.5), (40 / 255, 0.25)):
        threat = ThreatModel(norm="linf", epsilon=epsilon)
        clean, attacked = measure(bundle, ["clean", "pgd-20"], threat, tmp_path).values()
        assert (clean.accuracy, attacked.accuracy) == (0.75, held)


def test_the_worst_case_is_over_all_attacks_within_the_budget_image_by_image(
    bundle: Path, tmp_path: Path
) -> None:
    texts = ["clean", "fgsm", "pgd-10", "cw-10x2", "pgd-10,epsilon=100/255", "ddn"]
    worst = worst_case(measure(bundle, texts, EIGHT, tmp_path), "none", EIGHT)
    assert worst is not None
    assert worst.attacks == ("fgsm", "pgd-10", "cw-10x2")
    assert worst.held.tolist() == [True, False, True, False]
    assert worst_case(measure(bundle, ["clean"], EIGHT, tmp_path), "none", EIGHT) is None


def test_a_targeted_attack_is_also_judged_by_the_label(bundle: Path, tmp_path: Path) -> None:
    (outcome,) = measure(bundle, ["pgd-20,target=1"], EIGHT, tmp_path).values()
    assert outcome.right.tolist() == [True, False, True, False]
    assert outcome.success.tolist()[:3] == [False, True, False], "200 is of the target's class already"


def test_distances_are_of_the_images_that_were_right_before(bundle: Path, tmp_path: Path) -> None:
    (outcome,) = measure(bundle, ["rays-300,epsilon=none"], EIGHT, tmp_path).values()
    found = outcome.distances("linf")
    assert found.shape == (3,)
    assert found * 255 == pytest.approx([27.5, 3.5, 72.5], abs=0.2)


def test_an_interrupted_measurement_goes_on_where_it_stopped(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        measure(bundle, ["clean", "pgd-3"], EIGHT, tmp_path, Threshold(broken_at=4), size=2)
    kept = [path for path in tmp_path.rglob("*.jsonl") if "PGDParameters" in path.read_text(encoding="utf-8")]
    with kept[0].open("a", encoding="utf-8") as torn:
        torn.write('{"start": 2, "sto')
    later = Threshold()
    resumed = measure(bundle, ["clean", "pgd-3"], EIGHT, tmp_path, later, size=2)
    assert later.calls == 3, "only the batch that was cut off is attacked again"
    once = Threshold()
    assert [one.accuracy for one in measure(bundle, ["clean", "pgd-3"], EIGHT, tmp_path, once).values()] == [
        0.75,
        0.5,
    ]
    assert once.calls == 0, "and nothing a third time"
    fresh = measure(bundle, ["clean", "pgd-3"], EIGHT, tmp_path / "other")
    assert [one.right.tolist() for one in resumed.values()] == [one.right.tolist() for one in fresh.values()]


def test_another_attack_is_another_measurement(bundle: Path, tmp_path: Path) -> None:
    measure(bundle, ["pgd-3"], EIGHT, tmp_path)
    for text in ("pgd-4", "pgd-3,loss=cw", "pgd-3,seed=1", "pgd-3,epsilon=4/255"):
        oracle = Threshold()
        measure(bundle, [text], EIGHT, tmp_path, oracle)
        assert oracle.calls > 0, text


def test_a_ledger_knows_which_images_are_missing(tmp_path: Path) -> None:
    def outcome(images: int) -> Outcome:
        bits, norms = np.arange(images) % 2 == 0, np.arange(images, dtype=np.float32)
        return Outcome(bits, bits, ~bits, ~bits, norms, norms, forwards=images)

    ledger = Ledger(tmp_path, {"a": 1})
    assert ledger.missing(5, 2) == [(0, 2), (2, 4), (4, 5)]
    ledger.put(Entry(2, 4, outcome(2)))
    assert Ledger(tmp_path, {"a": 1}).missing(5, 2) == [(0, 2), (4, 5)]
    ledger.put(Entry(0, 2, outcome(2)))
    ledger.put(Entry(4, 8, outcome(4)))
    again = Ledger(tmp_path, {"a": 1})
    assert again.missing(8, 3) == []
    assert again.outcome(7).l2.tolist() == [0, 1, 0, 1, 0, 1, 2]
    assert again.outcome(6).forwards == 6
    assert Ledger(tmp_path, {"a": 2}).missing(2, 2) == [(0, 2)]
    again.forget()
    assert again.missing(8, 8) == [(0, 8)]


def test_a_ledger_that_a_kill_left_empty_or_torn_is_gone_on_with(tmp_path: Path) -> None:
    bits, norms = np.ones(1, dtype=bool), np.zeros(1, dtype=np.float32)
    outcome = Outcome(bits, bits, ~bits, ~bits, norms, norms)
    path = Ledger(tmp_path, {"a": 1}).path
    path.write_text("")
    first, second = Ledger(tmp_path, {"a": 1}), Ledger(tmp_path, {"a": 1})
    first.put(Entry(0, 1, outcome))
    second.put(Entry(1, 2, outcome))  # of another process, which does not know of the first
    lines = path.read_text().splitlines()
    assert [sorted(json.loads(line))[0] for line in lines] == ["subject", "backwards", "backwards"]
    path.write_text("\n".join(lines)[:-9])
    third = Ledger(tmp_path, {"a": 1})
    assert third.missing(2, 2) == [(1, 2)]
    third.put(Entry(1, 2, outcome))
    assert Ledger(tmp_path, {"a": 1}).missing(2, 2) == []


def test_of_images_that_come_class_after_class_some_of_each_are_taken(tmp_path: Path) -> None:
    order = np.repeat(np.arange(4), 50)
    images = np.broadcast_to(order.astype(np.uint8)[:, None, None, None], (200, 1, 4, 4))
    for name, labels in (("sorted", order), ("mixed", order[np.arange(200) * 77 % 200])):
        file = tmp_path / f"{name}.npz"
        sets = {f"{which}_images": images for which in ("train", "test")}
        sets |= {f"{which}_labels": labels for which in ("train", "test")}
        np.savez(file, **sets)
        some, whole = (Images(f"npz:{file}", count=count).load() for count in (40, None))
        assert np.array_equal(some.split.labels, whole.split.labels[:40])
        assert len(set(some.split.labels.tolist())) == 4
        drawn = name == "sorted"
        assert some.words.startswith(f"npz:{name}.npz, {'drawn' if drawn else 'first'} 40 of 200 test images")
        assert some.digest.endswith("-drawn") == drawn
        assert (some.split.images[:, 0, 0, 0] == some.split.labels).all() == drawn


def test_there_are_as_many_processes_as_devices_unless_it_is_said() -> None:
    images = Images("digits")
    assert Runner(images, Path(), Path())._workers == 1
    assert Runner(images, Path(), Path(), devices=("0", "1"))._workers == 2
    assert Runner(images, Path(), Path(), devices=("0", "1"), processes=4)._workers == 4


@pytest.mark.slow
def test_several_processes_find_what_one_finds(bundle: Path, tmp_path: Path) -> None:
    threat = Bundle.open(bundle).manifest.threat_model
    lines = [Line.parse(text, threat) for text in ("clean", "pgd-3", "square-20")]
    what = [Measurement(bundle, "none", line) for line in lines]
    one = Runner(Images("digits", count=60), bundle.parent.parent, tmp_path / "1", batch_size=20, threads=1)
    several = replace(one, ledgers=tmp_path / "2", processes=2)
    told: list[float] = []
    for ours, theirs in zip(one.run(what), several.run(what, lambda _, n: told.append(n)), strict=True):
        assert ours.right.tolist() == theirs.right.tolist()
        assert ours.l2 == pytest.approx(theirs.l2, rel=1e-5)
    assert sum(told) == 180


@pytest.mark.slow
def test_a_killed_evaluation_leaves_no_process_behind(bundle: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "holdfast", "evaluate", str(bundle), "--data", "digits", "--no-save"]
    command += ["--attack", "square-4000", "--processes", "2", "--threads", "1", "--batch-size", "4"]
    command += ["--images", "200", "--ledgers", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not any("Square" in path.read_text() for path in tmp_path.rglob("*.jsonl")):
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.1)
        children = _children(process.pid)
        assert len(children) >= 2
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        while any(map(_lives, children)):
            assert time.monotonic() < deadline, "a process outlived the evaluation"
            time.sleep(0.1)
    finally:
        process.kill()
        process.wait(10)


def _children(pid: int) -> list[int]:
    listed = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False
    )
    return [int(line) for line in listed.stdout.split()]


def _lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"
