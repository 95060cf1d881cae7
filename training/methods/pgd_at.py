"""PGD adversarial training (Madry et al. 2018, "Towards Deep Learning Models Resistant to Adversarial
Attacks").

    min_θ E max_{‖δ‖ <= ε} L(f_θ(x + δ), y)        (eq. 2.1)

The inner maximisation is PGD from a random start; the outer step descends the loss on its result alone.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from holdfast.attacks.ball import ball
from holdfast.attacks.noise import Noise
from holdfast.attacks.pgd import ascend
from holdfast.attacks.torch_oracle import TorchOracle
from holdfast.units import Budget
from training.methods.method import Method, MethodParameters, Paper
from training.models.network import Network, evaluating


class InnerAttack(MethodParameters):
    """The inner PGD; the defaults are the paper's for CIFAR-10 (Sec. 4: 7 steps of 2/255 within 8/255)."""

    norm: Literal["linf", "l2"] = "linf"
    epsilon: Budget = 8 / 255
    steps: Annotated[int, Field(ge=1, le=100)] = 7
    step_size: Budget = 2 / 255
    random_start: bool = True


class Parameters(InnerAttack):
    """The inner PGD, and label smoothing."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class PGDAdversarialTraining(Method[Parameters]):
    """Madry's adversarial training."""

    Parameters = Parameters
    paper = Paper(
        authors="Madry, Makelov, Schmidt, Tsipras & Vladu",
        title="Towards Deep Learning Models Resistant to Adversarial Attacks",
        venue="ICLR",
        year=2018,
    )

    def loss(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """Cross-entropy on PGD examples made against the network in eval mode."""
        with evaluating(network):
            adversarial = attack(network, images, labels, self.parameters, noise)
        return cross_entropy(network(adversarial), labels, label_smoothing=self.parameters.label_smoothing)


def attack(network: Network, images: Tensor, labels: Tensor, parameters: InnerAttack, noise: Noise) -> Tensor:
    """Solve the inner maximisation by PGD on the cross-entropy.

    Args:
        network: In the mode that it is attacked in.
        images: (n, c, h, w).
        labels: (n,).
        parameters: Budget and steps.
        noise: For the random start.

    Returns:
        (n, c, h, w), detached.
    """
    p = parameters
    region = ball(p.norm, p.epsilon)
    start = region.random(images, noise) if p.random_start else images
    oracle = TorchOracle(network, network.classes)
    adversarial: Tensor = ascend(oracle, start, images, labels, region, steps=p.steps, step_size=p.step_size)
    return adversarial


METHOD = PGDAdversarialTraining
