"""``holdfast figures surface``: the loss around an image against torch, and what is drawn of it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.bundle import Bundle
from holdfast.errors import HoldfastError
from holdfast.manifest import ThreatModel
from training import data
from training.commands.figures import app
from training.figures.surface import measure
from training.rebuild import rebuild


def draw(store: Path, out: Path, *arguments: str) -> dict[str, Any]:
    options = ["--store", str(store), "--out", str(out), "--threads", "1"]
    result = CliRunner().invoke(app, ["surface", *arguments, *options], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads((out / "surface.json").read_text(encoding="utf-8"))
    return found


def test_the_losses_are_those_of_the_network_at_the_moved_images(digits_store: Path, tmp_path: Path) -> None:
    found = draw(digits_store, tmp_path, "digits", "--image", "4", "--epsilon", "0.1", "--side", "5")
    (panel,) = found["panels"]
    split = data.load("digits").test
    image = torch.from_numpy(split.images[4:5]).float() / 255
    label = torch.from_numpy(split.labels[4:5])
    network = rebuild(Bundle.open(digits_store / "digits" / "1"))
    image.requires_grad_()
    loss = torch.nn.functional.cross_entropy(network(image), label)
    (gradient,) = torch.autograd.grad(loss, image)
    signs = torch.from_numpy(np.random.default_rng(0).integers(0, 2, (1, 8, 8)) * 2.0 - 1.0).float()
    for row, b in enumerate(np.linspace(-0.1, 0.1, 5)):
        for column, a in enumerate(np.linspace(-0.1, 0.1, 5)):
            moved = (image.detach() + float(a) * gradient.sign() + float(b) * signs).clamp(0, 1)
            with torch.no_grad():
                logits = network(moved)
            expected = torch.nn.functional.cross_entropy(logits, label)
            assert panel["losses"][row][column] == pytest.approx(expected.item(), rel=1e-3, abs=1e-5)
            wrong = bool(logits.argmax(1) != label)
            assert (panel["margins"][row][column] < 0) == wrong
    assert panel["losses"][2][2] == pytest.approx(panel["loss"], rel=1e-4)
    assert panel["losses"][2][4] > panel["loss"] > panel["losses"][2][0], "the gradient leads upwards"


def test_in_l2_both_directions_are_as_long_as_the_budget(digits_store: Path) -> None:
    bundle = Bundle.open(digits_store / "digits" / "1")
    oracle, seen = OnnxOracle(bundle, threads=1), []

    class Noting(OnnxOracle):
        def __init__(self) -> None:
            pass

        def gradient(self, images: np.ndarray, *rest: Any) -> Any:
            seen.append(images)
            return oracle.gradient(images, *rest)

    image = np.full((1, 8, 8), 0.5, dtype=np.float32)
    threat = ThreatModel(norm="l2", epsilon=0.4)
    measure(Noting(), image, 3, threat, bundle="digits", names=bundle.manifest.classes, side=3)
    moved = seen[1].reshape(3, 3, 64) - 0.5
    lengths = np.linalg.norm(moved, axis=2)
    np.testing.assert_allclose([lengths[1, 0], lengths[1, 2], lengths[0, 1], lengths[2, 1]], 0.4, rtol=1e-5)
    assert lengths[1, 1] == 0


def test_every_bundle_has_a_panel_of_the_same_image_on_the_same_scale(
    defended_store: Path, tmp_path: Path
) -> None:
    found = draw(defended_store, tmp_path, "judged", "centred", "--side", "7")
    assert [panel["bundle"] for panel in found["panels"]] == ["judged", "centred"]
    assert found["epsilon"] == pytest.approx(0.1)
    with (tmp_path / "surface.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 7 * 7
    assert float(rows[0]["loss"]) == found["panels"][0]["losses"][0][0]
    assert np.asarray(Image.open(tmp_path / "surface.png").convert("L")).std() > 10
    assert "<svg" in (tmp_path / "surface.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--image", "9999", "--epsilon", "0.1"], "no image 9999: digits has 359 test images"),
        ([], "nothing to see within ε = 0"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    digits_store: Path, tmp_path: Path, arguments: list[str], said: str
) -> None:
    with pytest.raises(HoldfastError, match=said):
        draw(digits_store, tmp_path, "digits", *arguments)
    assert not list(tmp_path.iterdir())
