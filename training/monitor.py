"""A quick look at accuracy while training: clean and under PGD, on a few test images."""

from __future__ import annotations

import torch

from holdfast.attacks import PGDParameters, attack
from holdfast.attacks.torch_oracle import TorchOracle
from training.data import Split
from training.models.network import Network, evaluating
from training.recipe import MonitorSection, ThreatModelSection


def measure(
    network: Network, test: Split, settings: MonitorSection, threat: ThreatModelSection, device: torch.device
) -> dict[str, float]:
    """Accuracy on the first test images, clean and under PGD with the recipe's budget.

    Nothing is selected by it: the figures that count come from ``holdfast evaluate`` on the exported bundle.
    """
    few = test.take(slice(0, settings.images))
    images = torch.from_numpy(few.images).to(device).float() / 255
    labels = torch.from_numpy(few.labels).to(device)
    oracle = TorchOracle(network, network.classes)
    with evaluating(network):
        right = oracle.logits(images).argmax(1) == labels
        measured = {"clean": right.float().mean().item()}
        if settings.steps and threat.epsilon:
            parameters = PGDParameters(
                norm=threat.norm,
                epsilon=threat.epsilon,
                steps=settings.steps,
                step_size=2.5 * threat.epsilon / settings.steps,
                stop_at_success=False,
            )
            result = attack(oracle, images, labels, parameters, batch_size=len(labels))
            measured[f"pgd{settings.steps}"] = 1 - result.success.float().mean().item()
    return measured
