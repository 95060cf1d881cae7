"""Latent adversarial training (Kumari, Singh, Sinha et al. 2019, "Harnessing the Vulnerability of Latent
Layers in Adversarially Trained Models"; the "layer-wise adversarial training" of ATLD's tables).

A network that PGD training made robust at its input still gives way to small perturbations of a hidden layer.
With f = g ∘ h cut after a stage h of the network, LAT trains both:

    L_adv(θ) = E max_{‖δ‖∞ <= ε} L(f(x + δ), y)
    L_lat(θ) = E max_{‖δ‖∞ <= ε_h} L(g(h(x) + δ), y)
    min_θ  ω · L_lat(θ) + (1 − ω) · L_adv(θ)

As in the authors' program, ε_h and the step are shares of the range that each channel of h(x) has over the
batch, latents stay within that range, and L_lat teaches the layers of g alone. There the two losses take
turns, at learning rates of 2.5e-4 and 1e-3: ω = 0.2 of their sum. Both attacks run in eval mode, both outer
passes in train mode; that of L_lat sends the clean images through h, whose running statistics see them.

The paper fine-tunes an adversarially trained network for a thousand steps; here both train from the start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from holdfast.attacks.ball import LInfBall
from holdfast.attacks.noise import Noise
from holdfast.attacks.pgd import ascend
from holdfast.attacks.torch_oracle import TorchOracle
from holdfast.errors import UsageError
from training.methods.method import Method, Paper
from training.methods.pgd_at import InnerAttack, attack
from training.models.network import Network, evaluating


class Parameters(InnerAttack):
    """Those of the authors' program for CIFAR-10, on the network's second group of blocks."""

    steps: Annotated[int, Field(ge=1, le=100)] = 10
    stage: Annotated[
        int | str,
        Field(
            description="Where to cut: a number, counted from 1, or a module's name in the network's body."
        ),
    ] = 2
    latent_epsilon: Annotated[
        float, Field(gt=0, le=1, description="ε_h, as a share of the range of a channel.")
    ] = 8 / 255
    latent_steps: Annotated[int, Field(ge=1, le=100)] = 20
    latent_step_size: Annotated[float, Field(gt=0, le=1, description="As a share of the range too.")] = (
        1 / 255
    )
    latent_weight: Annotated[float, Field(ge=0, le=1, description="ω.")] = 0.2


class LatentAdversarialTraining(Method[Parameters]):
    """PGD adversarial training of the input and of one hidden layer."""

    Parameters = Parameters
    paper = Paper(
        authors="Kumari, Singh, Sinha, Machiraju, Krishnamurthy & Balasubramanian",
        title="Harnessing the Vulnerability of Latent Layers in Adversarially Trained Models",
        venue="IJCAI",
        year=2019,
    )

    def loss(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """ω · L_lat + (1 − ω) · L_adv, both by PGD."""
        p = self.parameters
        stage = find_stage(network.body, p.stage)
        with evaluating(network):
            latents = self.attack_latents(network, stage, images, labels, noise)
            adversarial = attack(network, images, labels, p, noise)
        with output_of(stage, latents):
            latent_loss = cross_entropy(network(images), labels)
        return p.latent_weight * latent_loss + (1 - p.latent_weight) * cross_entropy(
            network(adversarial), labels
        )

    def attack_latents(
        self, network: Network, stage: nn.Module, images: Tensor, labels: Tensor, noise: Noise
    ) -> Tensor:
        """Ascend the cross-entropy by moving the stage's output.

        Args:
            network: In eval mode.
            stage: The last module of h.
            images: (n, c, h, w), clean.
            labels: (n,).
            noise: For the random start.

        Returns:
            Latents in place of the stage's output, in its shape, detached.
        """
        p = self.parameters
        latents = latents_of(network, stage, images)
        low = latents.amin((0, 2, 3), keepdim=True)
        spread = latents.amax((0, 2, 3), keepdim=True) - low
        # In units of the range, the latents live in [0, 1] like images: the same ball, the same steps.
        units = (latents - low) / spread.clamp_min(torch.finfo(spread.dtype).tiny)

        def logits(moved: Tensor) -> Tensor:
            # In eval mode images do not see one another: one is enough to get through h, which is replaced.
            with output_of(stage, low + spread * moved):
                out: Tensor = network(images[:1])
                return out

        region = LInfBall(p.latent_epsilon)
        moved: Tensor = ascend(
            TorchOracle(logits, network.classes),
            region.random(units, noise) if p.random_start else units,
            units,
            labels,
            region,
            steps=p.latent_steps,
            step_size=p.latent_step_size,
        )
        return low + spread * moved


def find_stage(body: nn.Module, stage: int | str) -> nn.Module:
    """The module after which to cut.

    Args:
        body: A network's body.
        stage: A module's name, e.g. ``groups.1.0``, or a number counted from 1: of the groups of blocks of a
            residual network, of the groups between poolings of a plain one.

    Raises:
        UsageError: The body has no such stage.
    """
    if isinstance(stage, str):
        try:
            return body.get_submodule(stage)
        except AttributeError:
            names = ", ".join(name for name, _ in body.named_children())
            raise UsageError(
                f"The network has no module {stage!r} to cut after.", hint=f"Its parts are: {names}."
            ) from None
    groups = getattr(body, "groups", None)
    stages = list(groups) if groups else [part for part in body.modules() if isinstance(part, nn.MaxPool2d)]
    if not 1 <= stage <= len(stages):
        raise UsageError(
            f"The network has no stage {stage} to cut after.",
            hint=f"Set method.stage to 1 to {len(stages)}, or to a module's name.",
        )
    return stages[stage - 1]


@torch.no_grad()
def latents_of(network: Network, stage: nn.Module, images: Tensor) -> Tensor:
    """h(x): what the stage puts out for these images, in float32."""
    found: list[Tensor] = []
    with _hooked(stage, lambda _module, _inputs, output: found.append(output)):
        network(images)
    _check_called(found)
    return found[0].float()


@contextmanager
def output_of(stage: nn.Module, latents: Tensor) -> Iterator[None]:
    """Inside, the stage puts out ``latents``, whatever comes in."""
    calls: list[bool] = []

    def replace(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        calls.append(True)
        return latents.to(output.dtype)

    with _hooked(stage, replace):
        yield
    _check_called(calls)


@contextmanager
def _hooked(stage: nn.Module, hook: Callable[..., Any]) -> Iterator[None]:
    handle = stage.register_forward_hook(hook)
    try:
        # A compiled network does not look whether hooks have come or gone: inside, it runs as it is written.
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        handle.remove()


def _check_called(calls: list[bool] | list[Tensor]) -> None:
    if not calls:
        raise UsageError(
            "The network does not pass through the stage that it is to be cut after.",
            hint="Choose another method.stage.",
        )


METHOD = LatentAdversarialTraining
