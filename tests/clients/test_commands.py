"""The commands that ask a gateway say what it says."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.campaigns import WEAK_RED
from support.cli import invoke, spawn_without
from support.gateway_process import free_port, running_gateway
from support.tiny import solid_png
from typer.testing import CliRunner, Result

from holdfast.commands.jobs import app
from holdfast.commands.remote.attack import _show
from holdfast.errors import HoldfastError, UsageError
from holdfast_client import AttackProgress

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def url(tiny_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    place = tmp_path_factory.mktemp("jobs")
    with running_gateway(tiny_store, HOLDFAST_JOBS_DATABASE=f"sqlite:///{place}/jobs.sqlite") as started:
        yield started


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for name, colour in (("red", WEAK_RED), ("green", (0, 255, 0))):
        (folder / name).mkdir(parents=True)
        (folder / name / "0.png").write_bytes(solid_png(colour))
    return folder


def jobs(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    if isinstance(result.exception, HoldfastError):
        raise result.exception
    return result


def test_images_are_classified_there(capsys: pytest.CaptureFixture[str], url: str, images: Path) -> None:
    outcome = invoke(capsys, "classify", images, "--server", url, "--json")
    answers = {each["image"]: each["label"] for each in json.loads(outcome.out)["images"]}
    assert answers == {str(images / "green/0.png"): "green", str(images / "red/0.png"): "red"}
    outcome = invoke(capsys, "classify", images / "red", "--server", url, "--top-k", "1")
    assert (outcome.code, outcome.err) == (0, "")
    assert "red" in outcome.out
    assert "green" not in outcome.out


def test_image_that_is_none_does_not_stop_the_others(
    capsys: pytest.CaptureFixture[str], url: str, images: Path
) -> None:
    (images / "broken.png").write_bytes(b"nothing")
    outcome = invoke(capsys, "classify", images, "--server", url)
    assert outcome.code == 1
    assert "not-an-image" in outcome.err
    assert "1 of 3 images could not be classified" in outcome.err
    outcome = invoke(capsys, "attack", "tiny", images, "--server", url, "--attack", "fgsm", "--json")
    assert outcome.code == 1
    answer = json.loads(outcome.out)
    assert (len(answer["results"]), len(answer["failures"])) == (2, 1)


def test_models_are_listed_and_shown_from_there(capsys: pytest.CaptureFixture[str], url: str) -> None:
    assert "red" not in invoke(capsys, "models", "--server", url).out
    assert json.loads(invoke(capsys, "models", "--server", url, "--json").out)["default"] == "tiny"
    assert invoke(capsys, "models", "tiny/1", "--server", url).out.startswith("# tiny")
    outcome = invoke(capsys, "models", "large", "--server", url)
    assert outcome.code == 1
    assert "There is no such model" in outcome.err


def test_bar_of_an_attack_says_how_it_is() -> None:
    seen: list[tuple[float, str | None]] = []

    class Bar:
        def advance(self, steps: float = 1, *, note: str | None = None) -> None:
            raise AssertionError("it says how much is done in all")

        def update(self, done: float, *, note: str | None = None) -> None:
            seen.append((done, note))

    for now in (
        AttackProgress(waiting=2),
        AttackProgress(waiting=1),
        AttackProgress(),
        AttackProgress(done=500, total=2000),
    ):
        _show(Bar(), 3, "pgd, a.png", now)
    assert seen == [
        (3, "pgd, a.png: waits for 2 others"),
        (3, "pgd, a.png: waits for one other"),
        (3, "pgd, a.png: begins"),
        (3.25, "pgd, a.png: 500 of 2,000 steps"),
    ]


def test_images_are_attacked_there(
    capsys: pytest.CaptureFixture[str], url: str, images: Path, tmp_path: Path
) -> None:
    outcome = invoke(
        capsys,
        *("attack", "tiny", images, "--server", url, "-a", "pgd", "-a", "fgsm", "--epsilon", "64/255"),
        *("--set", "pgd.steps=5", "--json", "--out", tmp_path / "out"),
    )
    assert outcome.code == 0, outcome.err
    results = json.loads(outcome.out)["results"]
    assert [each["attack"]["name"] for each in results] == ["pgd", "pgd", "fgsm", "fgsm"]
    assert results[0]["attack"]["parameters"]["steps"] == 5
    assert [each["outcome"] for each in results] == ["held", "fooled", "held", "fooled"]
    assert len(list((tmp_path / "out").rglob("*.png"))) == 4
    outcome = invoke(capsys, "attack", "tiny", images, "--server", url, "--cost")
    assert outcome.code == 2
    assert "--cost is for attacks on this machine" in outcome.err
    assert "held" in invoke(capsys, "attack", "tiny", images, "--server", url).out


def test_job_is_begun_followed_read_and_deleted(url: str, images: Path, tmp_path: Path) -> None:
    asked = ("--model", "tiny", "-a", "fgsm", "--set", "epsilon=64/255", "--labels", "folder")
    done = jobs("create", images, *asked, "--name", "colours", "--server", url, "--json")
    job = json.loads(done.stdout)
    assert job["images"] == 2
    followed = jobs("follow", job["id"], "--server", url)
    assert "50.0 %" in followed.stdout
    assert json.loads(jobs("show", job["id"], "--server", url, "--json").stdout)["state"] == "succeeded"
    assert "colours" in jobs("list", "--server", url).stdout
    assert "succeeded" in jobs("cancel", job["id"], "--server", url).stdout
    jobs("result", job["id"], "--out", tmp_path / "result.zip", "--server", url)
    assert (tmp_path / "result.zip").read_bytes().startswith(b"PK")
    assert len(json.loads(jobs("result", job["id"], "--server", url, "--json").stdout)["runs"]) == 1
    jobs("delete", job["id"], "--server", url)
    with pytest.raises(HoldfastError, match="There is no such job"):
        jobs("show", job["id"], "--server", url)
    assert "fgsm" in jobs("create", images, *asked, "--wait", "--server", url).stdout


def test_job_needs_a_model_and_images(url: str) -> None:
    with pytest.raises(UsageError, match="--model NAME"):
        jobs("create", "--server", url)
    with pytest.raises(UsageError, match="images or a data set"):
        jobs("create", "--model", "tiny", "--server", url)


def test_gateway_that_is_not_there_is_an_error_of_one_line(
    capsys: pytest.CaptureFixture[str], images: Path
) -> None:
    outcome = invoke(capsys, "classify", images, "--server", f"http://127.0.0.1:{free_port()}")
    assert outcome.code == 1
    assert "cannot be reached" in outcome.err
    assert invoke(capsys, "models", "--server", "nowhere").code == 2


def test_without_the_client_the_command_says_how_to_have_it() -> None:
    outcome = spawn_without("holdfast_client", "models", "--server", "http://127.0.0.1:1")
    assert outcome.code == 2
    assert "pip install ./clients/python" in outcome.err


def test_jobs_is_a_command() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["holdfast.commands"]["jobs"] == "holdfast.commands.jobs:app"
