"""Square Attack: against its authors' own code, and where a gradient is masked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from pyautoattack.square import SquareAttack
from support.masked import Quantised
from support.oracles import NumpyOracle, Recorder
from torch import Tensor

from holdfast.attacks import ImageNoise, PGDParameters, attack, flags
from holdfast.attacks.apgd import APGDParameters
from holdfast.attacks.square import SquareParameters
from holdfast.attacks.squares import hills, side, tiles, windows
from holdfast.attacks.torch_oracle import TorchOracle
from training.models import Network

Digits = tuple[Tensor, Tensor]
EPSILON = {"linf": 0.1, "l2": 0.8}
NORMS = {"linf": "Linf", "l2": "L2"}


class Reference(SquareAttack):  # type: ignore[misc]
    """The authors' code with places up to the far edge: as it stands the last row and column stay."""

    def random_int(self, low: int = 0, high: int = 1, shape: tuple[int, ...] = (1,)) -> Tensor:
        drawn: Tensor = super().random_int(low, high + 1, shape)
        return drawn


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_as_many_images_hold_as_under_the_authors_code(
    digits_network: Network, unseen_digits: Digits, norm: str
) -> None:
    images, labels = unseen_digits
    ours, theirs = 0.0, 0.0
    for seed in (0, 1):
        parameters = {"norm": norm, "epsilon": EPSILON[norm], "query_budget": 250, "seed": seed}
        found = attack(
            TorchOracle(digits_network, 10),
            images,
            labels,
            SquareParameters.model_validate(parameters),
            batch_size=300,
        )
        reference = Reference(
            digits_network,
            norm=NORMS[norm],
            eps=EPSILON[norm],
            n_queries=249,  # it does not count the first image
            seed=seed,
            resc_schedule=False,
        )
        other = digits_network(reference.perturb(images, labels)).argmax(1) != labels
        ours += found.success.float().mean().item() / 2
        theirs += other.float().mean().item() / 2
    assert 0.2 < theirs < 0.8
    assert ours == pytest.approx(theirs, abs=0.0101)


@pytest.mark.parametrize("share", [0.8, 0.3, 0.05])
@pytest.mark.parametrize("budget", [None, 1000])
def test_squares_shrink_as_in_the_authors_code(share: float, budget: int | None) -> None:
    reference = SquareAttack(None, n_queries=budget, p_init=share, eps=1, resc_schedule=budget is not None)
    for query in [*range(0, 1000, 7), *range(1000, 12_000, 501)]:
        pixels = reference.p_selection(query) * 32 * 32
        assert side(query, share, 32 * 32, budget) == max(round(math.sqrt(pixels)), 1)


@pytest.mark.parametrize("size", [2, 3, 5, 6, 9, 15])
def test_hills_are_those_of_the_authors_code(size: int) -> None:
    reference = SquareAttack(None, norm="L2", eps=1, device="cpu")
    both = hills(size, np.zeros((2, 2), dtype=int), np.array([False, True]), size, size)[:, 0]
    np.testing.assert_allclose(both[1], both[0].T)
    found = reference.eta(size).numpy()  # turned or not, at random
    assert min(np.abs(found - each).max() for each in both) < 1e-6


def test_a_hill_stands_where_its_square_is() -> None:
    draws = np.random.default_rng(0).random((50, 2))
    inside, corners = windows(draws, 3, 9, 7)
    hill = hills(3, corners, np.zeros(50, dtype=bool), 9, 7)
    assert (inside.sum((1, 2, 3)) == 9).all()
    assert np.array_equal(hill != 0, inside)
    assert corners.max(0).tolist() == [6, 4], "up to the far edges"
    assert corners.min(0).tolist() == [0, 0]


def test_the_search_in_l2_starts_from_tiles_all_over_the_image() -> None:
    images = np.random.default_rng(0).random((3, 3, 32, 30), dtype=np.float32)
    laid = tiles(ImageNoise.of(0, images), images.shape)
    assert laid.shape == images.shape
    assert (laid != 0).mean() > 0.9
    assert len({tile.tobytes() for image in laid for tile in image}) == 9


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_every_image_asked_is_within_the_budget_and_at_its_edge(
    digits_network: Network, unseen_digits: Digits, norm: str
) -> None:
    centre = unseen_digits[0][:5] * 0.2 + 0.4
    labels = digits_network(centre).argmax(1)
    recorder = Recorder(TorchOracle(digits_network, 10))
    result = attack(
        recorder,
        centre,
        labels,
        SquareParameters.model_validate({"norm": norm, "epsilon": 0.01, "query_budget": 150}),
    )
    # While no image has fallen; the clean ones are asked about first and last.
    asked = [images for images in recorder.forwards if len(images) == 5 and not torch.equal(images, centre)]
    assert len(asked) > 40
    for images in asked:
        change = images - centre
        size = change.abs().amax((1, 2, 3)) if norm == "linf" else (change**2).sum((1, 2, 3)).sqrt()
        torch.testing.assert_close(size, torch.full((5,), 0.01), atol=1e-5, rtol=0)
    assert result.images.shape == centre.shape


def test_it_sees_through_a_mask_that_blinds_pgd(digits_network: Network, unseen_digits: Digits) -> None:
    images, labels = unseen_digits[0][:80], unseen_digits[1][:80]
    masked = TorchOracle(Quantised(digits_network), 10)
    pgd = attack(masked, images, labels, PGDParameters(epsilon=0.15, random_start=False))
    auto = attack(masked, images, labels, APGDParameters(epsilon=0.15, steps=20))
    square = attack(masked, images, labels, SquareParameters(epsilon=0.15, query_budget=300))
    assert square.success.float().mean() > pgd.success.float().mean() + 0.3
    assert "zero_gradient" in [flag.name for flag in pgd.flags]
    raised = flags.compare({"pgd": pgd, "apgd-ce": auto}, {"square": square}, None, None)
    assert [flag.name for flag in raised] == ["black_box_beats_white_box"]
    assert raised[0].meaning.startswith("square, which sees no gradient")


def test_an_image_costs_no_query_more_once_it_has_fallen(
    digits_network: Network, unseen_digits: Digits
) -> None:
    result = attack(
        TorchOracle(digits_network, 10),
        *(part[:60] for part in unseen_digits),
        SquareParameters(epsilon=0.1, query_budget=100),
    )
    held = ~result.success.numpy()
    assert result.backwards == 0
    assert (result.queries[held] == 100 + 2).all(), "the clean image, the budget and the result"
    assert np.median(result.queries[~held]) < 60


def test_towards_a_target_only_the_target_counts(digits_network: Network, unseen_digits: Digits) -> None:
    images, labels = unseen_digits[0][:40], unseen_digits[1][:40]
    targets = (labels + 1) % 10
    result = attack(
        TorchOracle(digits_network, 10),
        images,
        labels,
        SquareParameters(epsilon=0.5, query_budget=200),
        targets=targets,
    )
    assert torch.equal(result.success, digits_network(result.images).argmax(1) == targets)
    assert result.success.float().mean() > 0.5


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_numpy_and_torch_arrays_take_the_same_path(
    digits_network: Network, unseen_digits: Digits, norm: str
) -> None:
    images, labels = unseen_digits[0][:40], unseen_digits[1][:40]
    parameters: dict[str, Any] = {"norm": norm, "epsilon": EPSILON[norm], "query_budget": 100}
    chosen = SquareParameters.model_validate(parameters)
    torchs = attack(TorchOracle(digits_network, 10), images, labels, chosen)
    numpys = attack(NumpyOracle(TorchOracle(digits_network, 10)), images.numpy(), labels.numpy(), chosen)
    assert np.mean(numpys.success == torchs.success.numpy()) >= 0.97
    apart = np.abs(numpys.images - torchs.images.numpy()).max((1, 2, 3))
    assert np.mean(apart < 1e-5) >= 0.9
