"""Triplet loss adversarial training against loops over the triplets of a batch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, cross_entropy

from holdfast.attacks.noise import TorchNoise
from training.methods.pgd_at import InnerAttack, attack
from training.methods.tla import (
    Parameters,
    TripletLossAdversarialTraining,
    angular_distances,
    class_positives,
    hardest_negatives,
)
from training.models import Network, build


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return build("small-cnn", classes=10, channels=1, size=(8, 8), mean=(0.5,), std=(0.25,))


def noise() -> TorchNoise:
    return TorchNoise(torch.Generator().manual_seed(5))


def distance(a: Tensor, b: Tensor) -> float:
    return 1 - abs(float(cosine_similarity(a, b, dim=0)))


def plain_metric(anchors: Tensor, clean: Tensor, labels: list[int], positives: list[int]) -> float:
    """λ₁ · L_trip + λ₂ · L_norm by loops, with the program's values."""
    hinges, lengths = [], []
    for i, anchor in enumerate(anchors):
        others = [j for j in range(len(clean)) if labels[j] != labels[i]]
        negative = min(others, key=lambda j: distance(anchor, clean[j]))
        gap = distance(anchor, clean[positives[i]]) - distance(anchor, clean[negative])
        hinges.append(max(gap + 0.03, 0))
        lengths.append(float(anchor.norm() + clean[positives[i]].norm() + clean[negative].norm()))
    return 2.0 * sum(hinges) / len(hinges) + 1e-3 * sum(lengths) / len(lengths)


def test_distances_are_angles_of_either_sign() -> None:
    torch.manual_seed(0)
    anchors, others = torch.randn(4, 7), torch.randn(5, 7)
    expected = torch.tensor([[distance(a, b) for b in others] for a in anchors])
    torch.testing.assert_close(angular_distances(anchors, others), expected)
    torch.testing.assert_close(angular_distances(anchors, -anchors).diagonal(), torch.zeros(4))


def test_the_metric_is_the_papers_over_all_triplets() -> None:
    torch.manual_seed(0)
    anchors, clean = torch.randn(12, 6), torch.randn(12, 6)
    labels = torch.randint(0, 3, (12,))
    drawn = class_positives(labels, noise(), like=torch.empty(12, 12)).tolist()
    own = plain_metric(anchors, clean, labels.tolist(), list(range(12)))
    of_class = plain_metric(anchors, clean, labels.tolist(), drawn)
    for positives, expected in {"own": own, "class": of_class, "both": own + of_class}.items():
        method = TripletLossAdversarialTraining(Parameters.model_validate({"positives": positives}))
        assert float(method.metric(anchors, clean, labels, noise())) == pytest.approx(expected, rel=1e-5)


def test_the_loss_adds_the_metric_to_pgd_training(network: Network) -> None:
    torch.manual_seed(1)
    images, labels = torch.rand(16, 1, 8, 8), torch.randint(0, 10, (16,))
    method = TripletLossAdversarialTraining(Parameters(epsilon=0.1, step_size=0.04, steps=3, positives="own"))
    # A copy: the running statistics that the attack sees must be those from before the step.
    reference = copy.deepcopy(network).eval()
    adversarial = attack(
        reference, images, labels, InnerAttack(epsilon=0.1, step_size=0.04, steps=3), noise()
    )
    reference.train()
    with torch.no_grad():
        anchors, clean = reference.features(adversarial), reference.features(images)
        expected = float(cross_entropy(reference.classify(anchors), labels)) + plain_metric(
            anchors, clean, labels.tolist(), list(range(16))
        )
    found = method.loss(network, images, labels, noise())
    assert float(found.detach()) == pytest.approx(expected, rel=1e-4)


def test_the_negative_is_the_nearest_image_of_another_class() -> None:
    distances = torch.tensor([[0.1, 0.3, 0.2], [0.5, 0.0, 0.4], [0.6, 0.7, 0.0]])
    indices, there_is_one = hardest_negatives(distances, torch.tensor([0, 0, 1]))
    assert indices.tolist() == [2, 2, 0]
    assert there_is_one.all()


def test_a_batch_of_one_class_has_no_triplets() -> None:
    torch.manual_seed(0)
    method = TripletLossAdversarialTraining(Parameters(norm_weight=0.0))
    metric = method.metric(torch.randn(4, 6), torch.randn(4, 6), torch.zeros(4, dtype=torch.int64), noise())
    assert float(metric) == 0


def test_positives_are_other_images_of_the_class_where_there_are_any() -> None:
    labels = torch.tensor([0, 1, 0, 0, 2, 1])
    chosen = class_positives(labels, noise(), like=torch.empty(6, 6))
    assert (labels[chosen] == labels).all()
    assert [int(i) for i in chosen[[1, 4, 5]]] == [5, 4, 1]
    assert all(int(chosen[i]) != i for i in (0, 2, 3))


def test_descending_the_metric_brings_anchors_to_their_class_and_away_from_others() -> None:
    torch.manual_seed(0)
    anchors = torch.randn(24, 6, requires_grad=True)
    clean, labels = torch.randn(24, 6), torch.randint(0, 3, (24,))
    method = TripletLossAdversarialTraining(Parameters(positives="own", norm_weight=0.0))

    def gaps() -> Tensor:
        distances = angular_distances(anchors.detach(), clean)
        negatives, _ = hardest_negatives(distances, labels)
        return distances.diagonal() - distances[torch.arange(24), negatives]

    before = gaps()
    for _ in range(20):
        (gradient,) = torch.autograd.grad(method.metric(anchors, clean, labels, noise()), anchors)
        with torch.no_grad():
            anchors -= gradient
    assert gaps().mean() < before.mean() - 0.2


def test_the_norm_term_shrinks_features() -> None:
    torch.manual_seed(0)
    anchors = torch.randn(8, 6, requires_grad=True)
    labels = torch.arange(8)
    method = TripletLossAdversarialTraining(Parameters(triplet_weight=0.0, norm_weight=1.0))
    (gradient,) = torch.autograd.grad(method.metric(anchors, torch.randn(8, 6), labels, noise()), anchors)
    torch.testing.assert_close(
        cosine_similarity(gradient, anchors, dim=1), torch.ones(8), rtol=1e-5, atol=1e-5
    )


def test_crafting_moves_no_running_statistics(network: Network) -> None:
    network.train()
    method = TripletLossAdversarialTraining(Parameters(steps=2))
    method.loss(network, torch.rand(8, 1, 8, 8), torch.arange(8), noise())
    counts = [value for key, value in network.state_dict().items() if key.endswith("num_batches_tracked")]
    assert all(int(count) == 2 for count in counts)
    assert network.training
