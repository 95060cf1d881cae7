"""The toy figures: what is drawn by real methods, and what is measured beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from holdfast.manifold import transform
from training.commands.figures import app
from training.figures.toy import draw
from training.figures.toy_data import EPSILON, grid, moons, train
from training.models.defended import DefendedNetwork

NAMES = ("perturbations", "boundaries", "imt", "fields")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("figures")
    result = CliRunner().invoke(
        app, ["toy", "--out", str(directory), "--steps", "40"], catch_exceptions=False
    )
    assert result.exit_code == 0
    for figure in ("FS Fig. 2", "ATLD Fig. 1", "ATLD Fig. 4", "ATLD Fig. 6", "ATLD Fig. 7"):
        assert figure in result.output
    return directory


def test_every_figure_is_written_as_png_and_svg(drawn: Path) -> None:
    for name in NAMES:
        picture = np.asarray(Image.open(drawn / f"toy-{name}.png").convert("L"))
        assert picture.shape[1] > 900
        assert picture.std() > 10, "something is drawn"
        assert "<svg" in (drawn / f"toy-{name}.svg").read_text(encoding="utf-8")


def test_the_same_seed_draws_the_same_pictures(drawn: Path, tmp_path: Path) -> None:
    findings = draw(tmp_path, steps=40)
    for name in NAMES:
        assert (tmp_path / f"toy-{name}.svg").read_bytes() == (drawn / f"toy-{name}.svg").read_bytes()
    assert all("%" in finding.measured for finding in findings)


def test_points_lie_in_the_unit_square_and_a_network_learns_them() -> None:
    data = moons(300, 0)
    assert data.images.shape == (300, 2, 1, 1)
    assert data.images.min() >= 0
    assert data.images.max() <= 1
    network = train("standard", data, steps=300).network
    with torch.no_grad():
        right = (network(data.images).argmax(1) == data.labels).float().mean()
    assert right > 0.95


def test_the_grid_goes_along_the_first_coordinate_first() -> None:
    points = grid(3)[:, :, 0, 0]
    assert points[1].tolist() == [0.5, 0.0]
    assert points[-1].tolist() == [1.0, 1.0]


def test_only_the_companion_learns_beside_a_network_that_is_kept() -> None:
    data = moons(200, 0)
    network = train("standard", data, steps=50).network
    before = [weight.clone() for weight in network.parameters()]
    judged = train("atld", data, steps=20, network=network, epsilon=EPSILON, discriminator="mlp-1-16")
    assert all(torch.equal(*pair) for pair in zip(before, network.parameters(), strict=True))
    exported = judged.method.exported(network)
    assert isinstance(exported, DefendedNetwork)
    moved = transform(exported.manifold_logit, data.images, epsilon=EPSILON).images
    assert 0 < (moved - data.images).abs().max() <= EPSILON + 1e-6
