"""The commands that ask a gateway keep what they have when it fails, and give up where it never answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.cli import invoke
from support.faulty_server import Behaviour, answer, faulty_server, half, problem
from support.tiny import solid_png

from serving.gateway.examples import CLASSIFICATION

WHOLE, LOST = answer(200, CLASSIFICATION), half(CLASSIFICATION)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.png").write_bytes(solid_png("red"))
    return folder


def test_image_whose_request_is_lost_does_not_stop_the_others(
    capsys: pytest.CaptureFixture[str], images: Path
) -> None:
    few = sorted(images.iterdir())[:3]
    with faulty_server(LOST, WHOLE) as server:
        outcome = invoke(capsys, "classify", *few, "--model", "tiny", "--server", server.url, "--json")
    assert outcome.code == 1
    assert "1 of 3 images could not be classified" in outcome.err
    described = json.loads(outcome.out)["images"]
    assert [each["image"] for each in described] == [str(path) for path in few]
    assert sum("label" in each for each in described) == 2
    assert sum("error" in each for each in described) == 1


@pytest.mark.parametrize("fault", [LOST, problem(401, "no-key")], ids=["connection", "key"])
def test_gateway_that_answers_nobody_is_not_asked_for_every_image(
    capsys: pytest.CaptureFixture[str], images: Path, fault: Behaviour
) -> None:
    with faulty_server(fault) as server:
        outcome = invoke(capsys, "classify", images, "--model", "tiny", "--server", server.url)
        assert len(server.requests) <= 8
    assert (outcome.code, outcome.out) == (1, "")
    assert outcome.err.count("Error: ") == 1
    assert "could not be classified" not in outcome.err


def test_connection_lost_late_leaves_all_that_came_before(
    capsys: pytest.CaptureFixture[str], images: Path
) -> None:
    with faulty_server(*[WHOLE] * 20, LOST, WHOLE) as server:
        outcome = invoke(capsys, "classify", images, "--model", "tiny", "--server", server.url, "--json")
        assert len(server.requests) == 40
    assert outcome.code == 1
    assert "1 of 40 images could not be classified" in outcome.err
    assert sum("label" in each for each in json.loads(outcome.out)["images"]) == 39
