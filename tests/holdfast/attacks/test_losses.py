"""The attacker's losses against their formulas in numpy, and against AutoAttack's own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from holdfast.attacks.loss import Loss
from holdfast.attacks.torch_losses import attack_loss


def formula(z: np.ndarray, y: int, t: int, loss: Loss) -> float:
    """One image's loss as the docstrings of Loss write it."""
    top = np.sort(z)[::-1]
    best = lambda c: max(np.delete(z, c))  # noqa: E731
    return {
        Loss.CROSS_ENTROPY: lambda: -log_softmax(z)[y],
        Loss.MARGIN: lambda: best(y) - z[y],
        Loss.DLR: lambda: -(z[y] - best(y)) / (top[0] - top[2]),
        Loss.TARGETED_CROSS_ENTROPY: lambda: log_softmax(z)[t],
        Loss.TARGETED_MARGIN: lambda: z[t] - best(t),
        Loss.TARGETED_DLR: lambda: -(z[y] - z[t]) / (top[0] - (top[2] + top[3]) / 2),
        Loss.LOGIT_DIFFERENCE: lambda: z[t] - z[y],
    }[loss]()


@pytest.mark.parametrize("loss", list(Loss), ids=lambda loss: loss.label)
def test_each_loss_is_its_formula(loss: Loss) -> None:
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(50, 10)) * 3, rng.integers(0, 10, 50)
    targets = (labels + rng.integers(1, 10, 50)) % 10
    got = attack_loss(
        torch.from_numpy(logits),
        torch.from_numpy(labels),
        loss,
        torch.from_numpy(targets) if loss.targeted else None,
    )
    expected = [formula(*row, loss) for row in zip(logits, labels, targets, strict=True)]
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-10)


@pytest.mark.parametrize("loss", list(Loss), ids=lambda loss: loss.label)
def test_each_loss_grows_as_its_attack_succeeds(loss: Loss) -> None:
    held, lost = torch.tensor([[5.0, 1.0, 0.0, -1.0]]), torch.tensor([[1.0, 5.0, 0.0, -1.0]])
    label, target = torch.tensor([0]), torch.tensor([1])
    assert attack_loss(lost, label, loss, target) > attack_loss(held, label, loss, target)


@pytest.mark.parametrize("loss", list(Loss), ids=lambda loss: loss.label)
def test_equal_logits_give_finite_losses_and_gradients(loss: Loss) -> None:
    logits = torch.zeros(3, 10, requires_grad=True)
    losses = attack_loss(logits, torch.tensor([0, 1, 2]), loss, torch.tensor([3, 4, 5]))
    losses.sum().backward()
    assert torch.isfinite(losses).all()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_too_few_classes_for_a_ratio_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3 classes"):
        attack_loss(torch.zeros(1, 2), torch.tensor([0]), Loss.DLR)


def test_a_targeted_loss_asks_for_its_targets() -> None:
    with pytest.raises(ValueError, match="needs targets"):
        attack_loss(torch.zeros(1, 10), torch.tensor([0]), Loss.TARGETED_DLR)


def test_ids_and_labels_are_the_formats_and_never_change() -> None:
    assert [(loss.id, loss.label) for loss in Loss] == [
        (0, "ce"),
        (1, "cw"),
        (2, "dlr"),
        (3, "ce-targeted"),
        (4, "cw-targeted"),
        (5, "dlr-targeted"),
        (6, "difference"),
    ]
