"""Bilateral adversarial training against a plain reading of its equations."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.nn.functional import cross_entropy, log_softmax

from holdfast.attacks.noise import TorchNoise
from training.methods.bilateral import Bilateral, Parameters, most_confusing, perturb_labels
from training.models import Network, build

EPSILON = 0.1


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return build("small-cnn", classes=10, channels=1, size=(8, 8), mean=(0.5,), std=(0.25,))


def noise() -> TorchNoise:
    return TorchNoise(torch.Generator().manual_seed(5))


def plain_label(logits: list[float], label: int, *, ratio: float, floor: float) -> list[float]:
    """Sec. 4.1 for one image, with the bound on ε_y written as the paper writes it, in Python's floats."""
    total = sum(math.exp(z) for z in logits)
    v = [-math.log(math.exp(z) / total) for z in logits]
    others = [k for k in range(len(logits)) if k != label]
    confusing, least_likely = min(v[k] for k in others), max(v[k] for k in others)
    n = len(logits)
    mean = sum(v[k] for k in others) / (n - 1)
    epsilon = 1 / (1 + ratio * (least_likely - confusing + floor) / ((n - 1) * (mean - confusing + floor)))
    return [
        1 - epsilon
        if k == label
        else epsilon / (n - 1) * (v[k] - confusing + floor) / (mean - confusing + floor)
        for k in range(n)
    ]


def test_adversarial_labels_are_the_closed_form_of_the_paper() -> None:
    torch.manual_seed(0)
    logits, labels = 3 * torch.randn(6, 10, dtype=torch.float64), torch.randint(0, 10, (6,))
    found = perturb_labels(logits, labels, ratio=9, floor=0.01)
    expected = [
        plain_label(row.tolist(), int(y), ratio=9, floor=0.01) for row, y in zip(logits, labels, strict=True)
    ]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))


def test_adversarial_labels_are_distributions_in_which_the_true_class_keeps_its_ratio() -> None:
    torch.manual_seed(0)
    logits, labels = 30 * torch.randn(50, 10), torch.randint(0, 10, (50,))
    found = perturb_labels(logits, labels, ratio=9, floor=0.01)
    torch.testing.assert_close(found.sum(1), torch.ones(50))
    assert found.min() > 0
    rows = torch.arange(50)
    true = found[rows, labels].clone()
    found[rows, labels] = 0
    torch.testing.assert_close(true, 9 * found.amax(1))


def test_adversarial_labels_favour_what_the_network_thinks_least_likely() -> None:
    logits = torch.tensor([[9.0, 5.0, 3.0, 1.0]])
    found = perturb_labels(logits, torch.tensor([0]), ratio=9, floor=0.01)[0]
    assert found[1] < found[2] < found[3] < found[0]


def test_equal_gradients_give_label_smoothing() -> None:
    found = perturb_labels(torch.zeros(1, 10), torch.tensor([3]), ratio=9, floor=0.01)[0]
    # Nine equal shares of ε_y, and the true class at nine times one of them: ε_y is one half.
    expected = torch.full((10,), 0.5 / 9)
    expected[3] = 0.5
    torch.testing.assert_close(found, expected)


def test_the_most_confusing_class_is_the_likeliest_wrong_one() -> None:
    logits = torch.tensor([[1.0, 5.0, 3.0], [1.0, 5.0, 3.0]])
    assert most_confusing(logits, torch.tensor([1, 0])).tolist() == [2, 1]


def test_the_loss_is_one_targeted_step_and_the_adversarial_label(network: Network) -> None:
    torch.manual_seed(1)
    images, labels = torch.rand(16, 1, 8, 8), torch.randint(0, 10, (16,))
    # A copy: the running statistics that the attack sees must be those from before the step.
    reference = copy.deepcopy(network).eval()
    clean = reference(images).detach()
    ranked = clean.argsort(1, descending=True)
    targets = torch.where(ranked[:, 0] == labels, ranked[:, 1], ranked[:, 0])
    leaf = (images + noise().uniform(images, -EPSILON, EPSILON)).clamp(0, 1).requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(reference(leaf), targets, reduction="sum"), leaf)
    moved = leaf.detach() - EPSILON * gradient.sign()
    moved = (images + (moved - images).clamp(-EPSILON, EPSILON)).clamp(0, 1)
    soft = torch.tensor(
        [plain_label(z.tolist(), int(y), ratio=9, floor=0.01) for z, y in zip(clean, labels, strict=True)]
    )
    expected = -(soft * log_softmax(reference.train()(moved), 1)).sum(1).mean()

    found = Bilateral(Parameters(epsilon=EPSILON)).loss(network, images, labels, noise())
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_step_raises_the_most_confusing_class(network: Network) -> None:
    network.eval()
    torch.manual_seed(1)
    images, labels = torch.rand(16, 1, 8, 8), torch.randint(0, 10, (16,))
    method = Bilateral(Parameters(epsilon=EPSILON))
    targets = most_confusing(network(images), labels)
    adversarial = method.attack(network, images, labels, targets, noise())
    assert (adversarial - images).abs().max() <= EPSILON + 1e-6
    start = (images + noise().uniform(images, -EPSILON, EPSILON)).clamp(0, 1)
    before, after = log_softmax(network(start), 1), log_softmax(network(adversarial), 1)
    rows = torch.arange(16)
    assert (after[rows, targets] > before[rows, targets]).all()


def test_crafting_moves_no_running_statistics(network: Network) -> None:
    network.train()
    Bilateral(Parameters()).loss(network, torch.rand(8, 1, 8, 8), torch.arange(8), noise())
    counts = [value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")]
    assert all(int(count) == 1 for count in counts)
    assert network.training
