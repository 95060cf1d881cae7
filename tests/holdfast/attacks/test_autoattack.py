"""AutoAttack: against its authors' own, and what each of its attacks leaves to the next."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from pyautoattack import AutoAttack
from support.masked import Quantised
from support.oracles import NumpyOracle
from torch import Tensor

from holdfast.attacks import GradientAnswer, attack
from holdfast.attacks.apgd import APGDParameters, APGDTParameters
from holdfast.attacks.autoattack import AutoAttackParameters
from holdfast.attacks.fab import FABTParameters
from holdfast.attacks.square import SquareParameters
from holdfast.attacks.torch_oracle import TorchOracle
from training.models import Network

Digits = tuple[Tensor, Tensor]
EPSILON = {"linf": 0.1, "l2": 0.6}
NORMS = {"linf": "Linf", "l2": "L2"}


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_as_many_images_hold_as_under_the_authors_code(
    digits_network: Network, unseen_digits: Digits, norm: str
) -> None:
    images, labels = unseen_digits[0][:100], unseen_digits[1][:100]
    parameters = {"norm": norm, "epsilon": EPSILON[norm], "query_budget": 300}
    ours = attack(
        TorchOracle(digits_network, 10),
        images,
        labels,
        AutoAttackParameters.model_validate(parameters),
        batch_size=100,
    )
    reference = AutoAttack(digits_network, norm=NORMS[norm], eps=EPSILON[norm], seed=0)
    reference.square.n_queries = 300
    adversarial, _ = reference.run_standard_evaluation(images, labels, batch_size=100)
    theirs = digits_network(adversarial).argmax(1) != labels
    assert 0.2 < theirs.float().mean() < 0.8
    assert ours.success.float().mean().item() == pytest.approx(theirs.float().mean().item(), abs=0.0101)


def test_the_standard_is_the_papers_four_attacks() -> None:
    within: dict[str, Any] = {"norm": "l2", "epsilon": 0.5}
    assert AutoAttackParameters(**within).members == (
        APGDParameters(**within, steps=100, restarts=1, loss="ce"),
        APGDTParameters(**within, steps=100, restarts=1, classes=9),
        FABTParameters(**within, steps=100, restarts=1, classes=9, final_search=0, stop_at_success=True),
        SquareParameters(**within, query_budget=5000, p_init=0.8),
    )
    assert AutoAttackParameters(**within).cost(10).backwards == 100 * (1 + 9 + 9)


def test_each_attack_only_sees_what_those_before_it_left(
    digits_network: Network, unseen_digits: Digits
) -> None:
    images, labels = unseen_digits[0][:60], unseen_digits[1][:60]
    parameters = AutoAttackParameters(epsilon=0.1, steps=10, query_budget=30)
    result = attack(TorchOracle(digits_network, 10), images, labels, parameters)
    first = attack(TorchOracle(digits_network, 10), images, labels, parameters.members[0])
    wrong = (digits_network(images).argmax(1) != labels).numpy()
    assert np.array_equal(result.fooled_by == "apgd-ce", first.success.numpy() & ~wrong)
    assert (result.fooled_by != "").sum() == (result.success.numpy() & ~wrong).sum()
    fell = result.fooled_by == "apgd-ce"
    assert result.queries[fell].max() <= parameters.members[0].cost(10).forwards + 4
    held = ~result.success.numpy()
    assert (result.queries[held] == parameters.cost(10).forwards + 2).all()
    assert set(Counter(result.fooled_by.tolist())) <= {"", "apgd-ce", "apgd-t", "fab-t", "square"}


def test_what_only_square_fools_raises_a_flag(digits_network: Network, unseen_digits: Digits) -> None:
    images, labels = unseen_digits[0][:40], unseen_digits[1][:40]
    parameters = AutoAttackParameters(epsilon=0.15, steps=5, query_budget=200)
    masked = attack(TorchOracle(Quantised(digits_network), 10), images, labels, parameters)
    counts = Counter(masked.fooled_by.tolist())
    assert counts["square"] > 5
    raised = {flag.name: flag for flag in masked.flags}
    assert raised["black_box_beats_white_box"].meaning.startswith(
        f"square, which sees no gradient, fools {counts['square']} of 40 images"
    )
    assert "zero_gradient" in raised
    honest = attack(
        TorchOracle(digits_network, 10), images, labels, parameters.model_copy(update={"steps": 30})
    )
    assert "black_box_beats_white_box" not in [flag.name for flag in honest.flags]


def test_what_square_fools_before_others_had_a_try_raises_none(
    digits_network: Network, unseen_digits: Digits
) -> None:
    images, labels = unseen_digits[0][:20], unseen_digits[1][:20]
    parameters = AutoAttackParameters(epsilon=0.15, steps=2, query_budget=100, version="plus")
    masked = attack(TorchOracle(Quantised(digits_network), 10), images, labels, parameters)
    assert Counter(masked.fooled_by.tolist())["square"] > 2
    assert "black_box_beats_white_box" not in [flag.name for flag in masked.flags]


def test_a_model_that_answers_at_random_is_attacked_by_the_mean_of_twenty_answers(
    digits_network: Network, unseen_digits: Digits
) -> None:
    images, labels = unseen_digits[0][:20], unseen_digits[1][:20]

    class Shaken(TorchOracle):
        """Its gradient is mostly noise."""

        def gradient(self, *arguments: Any, **keywords: Any) -> GradientAnswer:
            answer = super().gradient(*arguments, **keywords)
            size = answer.gradient.abs().mean()
            shake = torch.randn(answer.gradient.shape, generator=generator) * size * 4
            return GradientAnswer(answer.logits, answer.loss, answer.gradient + shake)

    generator = torch.Generator().manual_seed(0)
    parameters = AutoAttackParameters(epsilon=0.1, steps=10, version="rand")
    result = attack(Shaken(digits_network, 10), images, labels, parameters)
    single = attack(Shaken(digits_network, 10), images, labels, parameters.members[0])
    assert result.success.sum() > single.success.sum()
    cost = parameters.cost(10)
    assert cost.backwards == 20 * 10 * 2
    held = ~result.success.numpy()
    assert (result.queries[held] == cost.forwards + 2).all()


def test_with_five_restarts_and_two_attacks_more_no_more_images_hold(
    digits_network: Network, unseen_digits: Digits
) -> None:
    images, labels = unseen_digits[0][:30], unseen_digits[1][:30]
    standard, plus = (
        attack(
            TorchOracle(digits_network, 10),
            images,
            labels,
            AutoAttackParameters(epsilon=0.1, steps=4, query_budget=10, version=version),
        )
        for version in ("standard", "plus")
    )
    assert plus.success.sum() >= standard.success.sum()
    names = [type(member).__name__ for member in AutoAttackParameters(version="plus").members]
    assert len(names) == 6


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_numpy_and_torch_arrays_take_the_same_path(
    digits_network: Network, unseen_digits: Digits, norm: str
) -> None:
    images, labels = unseen_digits[0][:30], unseen_digits[1][:30]
    changes: dict[str, Any] = {"norm": norm, "epsilon": EPSILON[norm], "steps": 8, "query_budget": 20}
    chosen = AutoAttackParameters.model_validate(changes)
    torchs = attack(TorchOracle(digits_network, 10), images, labels, chosen)
    numpys = attack(NumpyOracle(TorchOracle(digits_network, 10)), images.numpy(), labels.numpy(), chosen)
    assert np.array_equal(numpys.success, torchs.success.numpy())
    assert np.mean(numpys.fooled_by == torchs.fooled_by) >= 0.95
