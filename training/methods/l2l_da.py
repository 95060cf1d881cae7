"""Learning to generate diverse attacks (L2L-DA; Jang et al. 2019, "Adversarial Defense via Learning to
Generate Diverse Attacks"). A generator G refines a perturbation step by step, and is paid for finding
different ones from different latents z. For each batch, with z ~ N(0, I) held over the steps and δ_0 = 0:

    δ_t = clip(δ_{t−1} + ε · s · G(x, g_{t−1}, δ_{t−1}, z, y), −ε, ε),    x'_t = clip(x + δ_t, 0, 1)
    g_t = ∇L(f(x'_t), y) over its norm in each channel
    generator:   max_φ Σ_t [ L(f(x'_t), y) + λ · L_ms,t ],   L_ms = mean |x'(z₁) − x'(z₂)| / |z₁ − z₂|
    classifier:  min_θ mean of L(f(·), y) over x, x'_T(z₁) and x'_T(z₂)

where |·| is the mean absolute value of an image or a latent. The sum's gradient goes through all steps of δ,
not through g. As in the authors' program, the classifier is in eval mode while perturbations are made and
while G learns, in train mode for its own loss, in which clean and perturbed images pass it together; G is in
train mode, and the classifier learns from what G made before its step.

G is the UNet of FS-GAN, which is built on this paper's. It is told the label beside the latent, which the
authors' tells by class-conditional batch norm, and sees δ in units of ε.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

from holdfast.attacks.noise import Noise
from holdfast.units import Budget
from training.methods.companion import Companion
from training.methods.method import Method, MethodParameters, Paper
from training.models.network import Network, evaluating
from training.models.unet import UNet


class Parameters(MethodParameters):
    """The defaults are those of the authors' program for CIFAR-10."""

    epsilon: Budget = 8 / 255
    steps: Annotated[int, Field(ge=1, le=100, description="T, how often the perturbation is refined.")] = 10
    step_share: Annotated[
        float, Field(gt=0, le=1, description="s: what a step may move, as a share of epsilon.")
    ] = 0.25
    latent: Annotated[int, Field(ge=1, description="Length of z.")] = 8
    diversity: Annotated[float, Field(ge=0, description="λ of the mode-seeking loss.")] = 0.5
    generator_learning_rate: Annotated[float, Field(gt=0, description="Of SGD; it stays as it is.")] = 0.01
    generator_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    generator_weight_decay: Annotated[float, Field(ge=0)] = 1e-5
    generator_clip: Annotated[float, Field(gt=0, description="On the norm of the generator's gradient.")] = (
        1.0
    )
    generator_width: Annotated[int, Field(ge=1, description="Channels of the UNet's first level.")] = 64
    generator_levels: Annotated[int, Field(ge=1, le=6, description="How often it halves the image.")] = 2


class LearningDiverseAttacks(Method[Parameters]):
    """A classifier against a generator of many different attacks."""

    Parameters = Parameters
    paper = Paper(
        authors="Jang, Zhao, Hong & Lee",
        title="Adversarial Defense via Learning to Generate Diverse Attacks",
        venue="ICCV",
        year=2019,
    )

    def companions(self, network: Network) -> dict[str, Companion]:
        """The generator."""
        p = self.parameters
        channels = network.normalise.mean.shape[1]
        unet = UNet(
            3 * channels,
            channels,
            latent=p.latent + network.classes,
            width=p.generator_width,
            levels=p.generator_levels,
        )
        optimiser = torch.optim.SGD(
            unet.parameters(),
            lr=p.generator_learning_rate,
            momentum=p.generator_momentum,
            weight_decay=p.generator_weight_decay,
        )
        self.generator = Companion(unet, optimiser, clip_norm=p.generator_clip)
        return {"generator": self.generator}

    def loss(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """Cross-entropy on the clean batch and on two perturbed ones, after the generator's step."""
        latents: Tensor = noise.normal(images.new_empty(2 * len(images), self.parameters.latent))
        pairs = images.repeat(2, 1, 1, 1)
        with evaluating(network):
            trajectory = self.refine(network, pairs, labels.repeat(2), latents)
            self.generator.descend(-self.reward(network, trajectory, labels.repeat(2), latents))
        batch = torch.cat([images, trajectory[-1].detach()])
        return cross_entropy(network(batch), labels.repeat(3))

    def refine(self, network: Network, images: Tensor, labels: Tensor, latents: Tensor) -> list[Tensor]:
        """x'_1 to x'_T.

        Args:
            network: In eval mode.
            images: (n, c, h, w).
            labels: (n,).
            latents: z of each image, (n, latent).

        Returns:
            T batches (n, c, h, w), differentiable in the generator's weights through all earlier steps.
        """
        p = self.parameters
        code = torch.cat([latents, one_hot(labels, network.classes).to(latents.dtype)], 1)
        delta, trajectory = torch.zeros_like(images), [images]
        for _ in range(p.steps):
            gradient = channel_unit_gradient(network, trajectory[-1], labels)
            made = self.generator.network(torch.cat([images, gradient, delta / p.epsilon], 1), code)
            step = p.epsilon * p.step_share * torch.tanh(made)
            delta = (delta + step).clamp(-p.epsilon, p.epsilon)
            trajectory.append((images + delta).clamp(0, 1))
        return trajectory[1:]

    def reward(self, network: Network, trajectory: list[Tensor], labels: Tensor, latents: Tensor) -> Tensor:
        """What the generator ascends: the classifier's loss and the diversity, summed over the steps."""
        total = latents.new_zeros(())
        for batch in trajectory:
            diversity = mode_seeking(batch, latents)
            total = total + cross_entropy(network(batch), labels) + self.parameters.diversity * diversity
        return total


def mode_seeking(images: Tensor, latents: Tensor) -> Tensor:
    """mean_i |x'_i(z₁) − x'_i(z₂)| / |z₁ − z₂|, |·| being a mean over an image's or a latent's values.

    Args:
        images: (2n, c, h, w): n images perturbed by their first latents, then by their second.
        latents: (2n, d), in the same order.
    """
    first, second = images.chunk(2)
    one, other = latents.chunk(2)
    return ((first - second).abs().mean((1, 2, 3)) / ((one - other).abs().mean(1) + 1e-8)).mean()


def channel_unit_gradient(network: Network, images: Tensor, labels: Tensor) -> Tensor:
    """∇_x L(f(x), y) over its Euclidean norm in each channel of each image, (n, c, h, w), detached."""
    leaf = images.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(cross_entropy(network(leaf), labels, reduction="sum"), leaf)
    # Brought near 1 first, because the square of a small gradient is no number that float32 has.
    largest = gradient.abs().amax((2, 3), keepdim=True)
    scaled = gradient / largest.clamp_min(torch.finfo(gradient.dtype).tiny)
    norm: Tensor = torch.linalg.vector_norm(scaled, dim=(2, 3), keepdim=True)
    return scaled / norm.clamp_min(1e-12)


METHOD = LearningDiverseAttacks
