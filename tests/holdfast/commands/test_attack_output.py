"""The folder that `holdfast attack` writes, what it keeps, and what stays of it when it is interrupted."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from support.cli import command, invoke
from support.tiny import solid_png

NEAR_RED = (130, 126, 0)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    path.write_bytes(solid_png(NEAR_RED))
    return path


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_the_record_that_is_printed_is_the_one_that_is_written(
    image: Path, tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    outcome = invoke(capsys, "attack", "tiny", image, "--out", out, "--json", "--store", tiny_store)
    assert json.loads(outcome.out) == json.loads((out / "attack.json").read_text())


def test_nothing_is_written_unless_a_folder_is_named(
    image: Path,
    tiny_store: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = invoke(capsys, "attack", "tiny", image, "--json", "--store", tiny_store)
    assert json.loads(outcome.out)["attacks"][0]["results"][0]["files"] is None
    assert files(tmp_path) == {"red.png"}


def test_a_folder_of_classes_becomes_a_folder_of_classes(
    tmp_path: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("red/1.png", "red/deep/1.0.png", "green/1.png"):
        (tmp_path / "images" / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / place).write_bytes(solid_png(NEAR_RED))
    out = tmp_path / "out"
    arguments = [tmp_path / "images", "--out", out, "--store", tiny_store]
    assert invoke(capsys, "attack", "tiny", *arguments).code == 0
    assert files(out / "pgd" / "adversarial") == {"red/1.png", "red/deep/1.0.png", "green/1.png"}


def test_images_of_one_name_are_kept_apart(
    tmp_path: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [tmp_path / place for place in ("a/one.png", "b/one.png", "c/ONE.png", "c/one-2.png")]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(solid_png(NEAR_RED))
    out = tmp_path / "out"
    again = paths[0]  # named twice, attacked once
    outcome = invoke(capsys, "attack", "tiny", *paths, again, "--out", out, "--store", tiny_store, "--json")
    written = [each["files"]["adversarial"] for each in json.loads(outcome.out)["attacks"][0]["results"]]
    assert written == [f"pgd/adversarial/{name}.png" for name in ("one", "one-2", "ONE-3", "one-2-2")]
    assert len(files(out / "pgd" / "adversarial")) == 4


def test_a_folder_that_is_not_empty_is_left_alone(
    image: Path, tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    outcome = invoke(capsys, "attack", "tiny", image, "--out", out, "--store", tiny_store)
    assert outcome.code == 2
    assert f"{out} is not empty." in outcome.err
    assert "--force" in outcome.err
    assert files(out) == {"mine.txt"}


def test_force_replaces_what_an_earlier_run_wrote_and_nothing_else(
    image: Path, tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    other = tmp_path / "other.png"
    other.write_bytes(solid_png(NEAR_RED))
    arguments = ["--out", out, "--store", tiny_store]
    assert invoke(capsys, "attack", "tiny", other, "--attack", "noise", "--float", *arguments).code == 0
    (out / "mine.txt").write_text("mine")
    assert invoke(capsys, "attack", "tiny", image, "--force", *arguments).code == 0
    assert files(out) == {
        "mine.txt",
        "attack.json",
        "pgd/adversarial/red.png",
        "pgd/perturbation/red.x15.9.png",
    }


def test_force_follows_no_record_out_of_its_folder(
    image: Path, tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["--out", out, "--store", tiny_store]
    assert invoke(capsys, "attack", "tiny", image, *arguments).code == 0
    precious = tmp_path / "precious.png"
    precious.write_bytes(b"precious")
    record = json.loads((out / "attack.json").read_text())
    listed = record["attacks"][0]["results"][0]["files"]
    listed["adversarial"], listed["perturbation"] = "../precious.png", str(precious)
    (out / "attack.json").write_text(json.dumps(record))
    assert invoke(capsys, "attack", "tiny", image, "--force", *arguments).code == 0
    assert precious.read_bytes() == b"precious"


@pytest.mark.parametrize("content", ["{}", "no JSON", "[]"])
def test_force_takes_a_record_that_it_cannot_read_for_a_file_like_any_other(
    image: Path, tiny_store: Path, tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "attack.json").write_text(content)
    assert invoke(capsys, "attack", "tiny", image, "--out", out, "--force", "--store", tiny_store).code == 0
    assert json.loads((out / "attack.json").read_text())["complete"] is True


def test_a_folder_that_cannot_be_made_is_an_error(
    image: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "attack", "tiny", image, "--out", image, "--store", tiny_store)
    assert outcome.code == 1
    assert f"{image} cannot be written" in outcome.err
    assert "--out" in outcome.err


def test_ctrl_c_stops_between_steps_and_keeps_what_is_finished(tiny_store: Path, tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for index in range(40):
        (images / f"{index:02}.png").write_bytes(solid_png((130, 126, index)))
    slow = ["--steps", "10000", "--set", "stop_at_success=false", "--set", "restarts=10"]
    process = subprocess.Popen(
        command(
            *("attack", "tiny", images, "-a", "noise", "-a", "pgd", *slow, "--batch-size", "1"),
            *("--out", out, "--store", tiny_store, "--threads", "1", "--json"),
        ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        deadline = time.monotonic() + 60
        while not list(out.glob("noise/perturbation/*.png")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        printed, messages = process.communicate(timeout=60)
    assert process.returncode == 130, messages
    assert "Interrupted; what was finished is kept." in messages
    assert "Traceback" not in messages
    record: dict[str, Any] = json.loads((out / "attack.json").read_text())
    assert record == json.loads(printed)
    assert (record["complete"], record["images"], record["flags"]) == (False, 40, [])
    noise, pgd = record["attacks"]
    assert 1 <= len(noise["results"]) < 40
    assert len(pgd["results"]) < 40
    kept = {each["files"]["adversarial"] for attack in (noise, pgd) for each in attack["results"]}
    assert kept == {name for name in files(out) if "/adversarial/" in name}


def test_an_interrupted_table_says_how_many_images_are_missing(
    tmp_path: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second image that never is: reading it is where Ctrl-C is pressed."""
    from holdfast.commands.attacking import run

    for name in ("1.png", "2.png", "3.png"):
        (tmp_path / name).write_bytes(solid_png(NEAR_RED))
    read = run.read_image

    def press(path: Path, spec: Any) -> Any:
        if path.name == "2.png":
            signal.raise_signal(signal.SIGINT)
        return read(path, spec)

    monkeypatch.setattr(run, "read_image", press)
    outcome = invoke(capsys, "attack", "tiny", tmp_path, "--batch-size", "1", "--store", tiny_store)
    assert outcome.code == 130
    assert "1 of 1 fooled (100.0 %); 2 not attacked: interrupted." in outcome.out
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
