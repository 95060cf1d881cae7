"""Every script in ``examples/`` runs as its docstring says, against a real gateway."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
from support.gateway_process import running_gateway

from holdfast.bundle import Bundle

ROOT = Path(__file__).parents[2]
EXAMPLES, IMAGES = ROOT / "examples", ROOT / "examples" / "images"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway with a robust model, and with one that gives manifold evidence."""
    store = tmp_path_factory.mktemp("store")
    for name in ("pgd-at-cifar10", "atld-cifar10"):
        (store / name).symlink_to(ROOT / "model_store" / name)
    # Whoever else works on this machine may make it slow.
    with running_gateway(store, HOLDFAST_JOBS_WORKERS="0", HOLDFAST_ATTACK_DEADLINE="240") as address:
        yield address


def run(script: str, *arguments: str | Path, cwd: Path = ROOT, code: int = 0) -> str:
    """Run an example as a person would; what it printed."""
    paths = [str(ROOT), str(ROOT / "clients" / "python" / "src")]
    done = subprocess.run(
        [sys.executable, EXAMPLES / script, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        timeout=280,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_a_folder_is_classified_and_a_file_that_is_no_image_does_not_stop_it(
    url: str, tmp_path: Path
) -> None:
    for name in ("horse", "ship", "truck"):
        (tmp_path / f"{name}.png").write_bytes((IMAGES / f"{name}.png").read_bytes())
    (tmp_path / "sheep.png").write_text("baa")
    rows = list(csv.DictReader(StringIO(run("classify_folder.py", tmp_path, "--url", url, code=1))))
    assert [row["file"] for row in rows] == ["horse.png", "sheep.png", "ship.png", "truck.png"]
    assert [row["label"] for row in rows] == ["horse", "", "ship", "truck"]
    assert [row["model"] for row in rows if row["model"]] == ["pgd-at-cifar10/1"] * 3
    assert "image" in rows[1]["error"]


def test_a_model_is_red_teamed_and_the_worst_case_is_no_better_than_any_attack(
    url: str, tmp_path: Path
) -> None:
    for name in ("horse", "ship", "cat", "dog"):
        (tmp_path / f"{name}.png").write_bytes((IMAGES / f"{name}.png").read_bytes())
    options = ["--model", "pgd-at-cifar10", "--attacks", "fgsm,pgd,square", "--budgets", "2/255,16/255"]
    table = run("red_team.py", tmp_path, *options, "--url", url)
    assert table.startswith("4 images, 100% [51%, 100%] right before any attack.")
    rows = {
        row[0].strip(): [float(value) for value in re.findall(r"(\d+)% \[", row[1])]
        for row in re.findall(r"^(fgsm|pgd|square|worst case)(.*)$", table, re.MULTILINE)
    }
    assert set(rows) == {"fgsm", "pgd", "square", "worst case"}
    for column in range(2):
        assert rows["worst case"][column] <= min(rows[name][column] for name in ("fgsm", "pgd", "square"))
    assert rows["pgd"][1] < 100


def test_the_manifold_monitor_is_read_from_answers_and_from_metrics_alike(url: str) -> None:
    said = run("manifold_monitor.py", IMAGES, "--url", url)
    for name in ("natural", "adversarial"):
        rates, counts = re.findall(rf"^{name} +(.*)$", said, re.MULTILINE)
        shares = [float(share) / 100 for share in re.findall(r"(\d+)%", rates)]
        assert [round(10 * share) for share in shares] == [int(count) for count in counts.split()]
        assert sum(map(int, counts.split())) == 10


@pytest.mark.slow
def test_a_defence_of_ones_own_is_trained_exported_and_better_than_none(tmp_path: Path) -> None:
    said = run("own_defence.py", "--epochs", "6", "--work", tmp_path, cwd=EXAMPLES)
    assert "$ holdfast evaluate baseline defended" in said
    accuracy = {}
    for name in ("baseline", "defended"):
        (evaluation,) = Bundle.open(tmp_path / "store" / name / "1").manifest.evaluations
        accuracy[name] = {figure.name: figure.accuracy for figure in evaluation.figures}
    assert accuracy["baseline"]["clean"] > 0.8
    assert accuracy["defended"]["pgd-20"] > accuracy["baseline"]["pgd-20"] + 0.1
    manifest = Bundle.open(tmp_path / "store" / "defended" / "1").manifest
    assert manifest.method == "own_defence:FastAdversarialTraining"


@pytest.mark.slow
def test_a_model_of_ones_own_is_trained_exported_served_and_attacked(tmp_path: Path) -> None:
    said = run("own_model.py", "--epochs", "15", "--work", tmp_path, cwd=EXAMPLES)
    right = re.search(r"Of 359 held-out images it gets (\d+\.\d)% right", said)
    assert right is not None
    assert float(right[1]) > 80
    assert "<Model own-digits/1: imported on digits>" in said
    assert "<Prediction 7 " in said
    assert len(re.findall(r"<AttackResult .*7 .* on own-digits/1>", said)) == 2


def test_every_script_is_described(tmp_path: Path) -> None:
    readme = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for script in EXAMPLES.glob("*.py"):
        assert f"`{script.name}`" in readme
        assert script.name in script.read_text(encoding="utf-8").split('"""')[1]
