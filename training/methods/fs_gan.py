"""FS-GAN (Kumar & Narayan 2022, "Introducing Diversity In Feature Scatter Adversarial Training Via
Synthesis"). Algorithm 1, for each batch:

    δ ~ U(−ε, ε),  x' = x + δ                                              start at random in the ball
    repeat t times:
        z ~ N(0, 1)
        L_ot = D(F(x), F(x'))                                               Feature Scattering's distance
        δ <- G(z, δ, x', ∇_{x'} L_ot),  x' <- x + δ                         one pass of the generator
        θ <- θ + α · ∇_θ [L_ot + λ · L_ms],  L_ms = |δ_1 − δ_2| / |z_1 − z_2|   generator: ascend (eq. 5)
        φ <- φ − β · ∇_φ [L(F(x'), y) + L_ot]                               classifier: descend

D is Feature Scattering's transport distance (eqs. 3, 4); where that takes one signed step along its gradient,
here a UNet that is shown the gradient learns the step, for all batches at once, and is paid for answering
different latents z with different perturbations. Labels are smoothed by 0.5, as in Feature Scattering.

Where the text, the algorithm and the paper's other statements disagree, each choice is a parameter:

- D is of the logits (Sec. IV-B); Sec. III-B speaks of probabilities (``features``).
- G's output is added to the clean image, as in Algorithm 1; the text adds it to the last x' (``perturbs``).
- With t > 1 the text trains the classifier on the last x' alone, the algorithm on each (``trains_on``); here
  each means one step on the mean of the losses. All the paper's experiments take t = 1, where both agree.

What is said nowhere follows Feature Scattering's program, or L2L-DA (Jang et al. 2019), which the paper takes
its generator's framework from: the network is in eval mode while perturbations are made and while G learns,
and in train mode for its own loss, where both F(x) and F(x') are computed anew and differentiated; G sees the
gradient scaled to a root mean square of 1 per image and channel, and everything else in units of the ball or
of the image; its output goes through a tanh and is scaled by ε; z is fed to each level of the UNet; G's batch
norm is in train mode, over both latents' passes together.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from holdfast.attacks.ball import LInfBall
from holdfast.attacks.noise import Noise
from holdfast.units import Budget
from training.methods.companion import Companion
from training.methods.method import Method, MethodParameters, Paper
from training.models.network import Network, evaluating
from training.models.unet import UNet
from training.smoothing import torch_smoothing
from training.transport import MatchingOptions, matching_distance


class Parameters(MatchingOptions, MethodParameters):
    """The paper's values (Sec. V-B) where it gives them."""

    epsilon: Annotated[Budget, Field(description="Sec. V-C: 8/255.")] = 8 / 255
    steps: Annotated[int, Field(ge=1, le=100, description="t of Algorithm 1; Sec. V-B: 1.")] = 1
    label_smoothing: Annotated[float, Field(ge=0, le=0.5, description="s_p; Sec. V-B: 0.5.")] = 0.5
    diversity: Annotated[float, Field(ge=0, description="λ of the mode-seeking loss; Sec. V-B: 0.05.")] = 0.05
    distance_weight: Annotated[
        float, Field(ge=0, description="Of L_ot in the classifier's loss; Algorithm 1: 1.")
    ] = 1.0
    latent: Annotated[int, Field(ge=1, description="Length of z; Sec. V-B: 10.")] = 10
    features: Annotated[Literal["logits", "probabilities"], Field(description="What D is a distance of.")] = (
        "logits"
    )
    perturbs: Annotated[
        Literal["clean", "previous"], Field(description="What the generator's output is added to.")
    ] = "clean"
    trains_on: Annotated[
        Literal["last", "each"], Field(description="Which of the t batches the classifier learns from.")
    ] = "last"
    generator_learning_rate: Annotated[
        float, Field(gt=0, description="Sec. V-B: 7.8e-3, for CIFAR-100 7.8e-5; it follows the schedule.")
    ] = 7.8e-3
    generator_momentum: Annotated[float, Field(ge=0, lt=1, description="Not stated; the classifier's.")] = 0.9
    generator_weight_decay: Annotated[float, Field(ge=0, description="Not stated.")] = 0.0
    generator_width: Annotated[int, Field(ge=1, description="Channels of the UNet's first level.")] = 64
    generator_levels: Annotated[int, Field(ge=1, le=6, description="How often it halves the image.")] = 3


class FSGAN(Method[Parameters]):
    """Feature scattering by a generator that learns how to scatter."""

    Parameters = Parameters
    paper = Paper(
        authors="Kumar & Narayan",
        title="Introducing Diversity In Feature Scatter Adversarial Training Via Synthesis",
        venue="ICPR",
        year=2022,
    )

    def companions(self, network: Network) -> dict[str, Companion]:
        """The generator."""
        p = self.parameters
        channels = network.normalise.mean.shape[1]
        unet = UNet(
            3 * channels, channels, latent=p.latent, width=p.generator_width, levels=p.generator_levels
        )
        optimiser = torch.optim.SGD(
            unet.parameters(),
            lr=p.generator_learning_rate,
            momentum=p.generator_momentum,
            weight_decay=p.generator_weight_decay,
        )
        self.generator = Companion(unet, optimiser, scheduled=True)
        return {"generator": self.generator}

    def loss(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """Let the generator perturb the batch and learn from it, then judge the classifier on it."""
        p = self.parameters
        moved: Tensor = LInfBall(p.epsilon).random(images, noise)
        batches = []
        with evaluating(network):
            with torch.no_grad():
                clean = self.features(network(images))
            for _ in range(p.steps):
                moved = self.play(network, images, clean, moved, noise)
                batches.append(moved)
        learnt = batches if p.trains_on == "each" else batches[-1:]
        losses = [self.classifier_loss(network, images, batch, labels) for batch in learnt]
        return torch.stack(losses).mean()

    def play(self, network: Network, images: Tensor, clean: Tensor, moved: Tensor, noise: Noise) -> Tensor:
        """One turn of the generator: perturb the batch, then learn to have done it better.

        Args:
            network: In eval mode.
            images: (n, c, h, w).
            clean: F(x), (n, classes), detached.
            moved: x', where the perturbation stands.
            noise: For the latents.

        Returns:
            The new x', detached.
        """
        p = self.parameters
        gradient = self.scattering_gradient(network, clean, moved)
        latents = noise.normal(images.new_empty(2, len(images), p.latent))
        deltas = self.generate(latents, moved - images, moved, gradient)
        perturbed = self.apply(images, moved, deltas[0])
        distance = matching_distance(clean, self.features(network(perturbed)), p)
        self.generator.descend(-(distance + p.diversity * mode_seeking(deltas, latents)))
        return perturbed.detach()

    def scattering_gradient(self, network: Network, clean: Tensor, moved: Tensor) -> Tensor:
        """∇_{x'} D(F(x), F(x')), as the generator is shown it: see :func:`unit_gradient`."""
        leaf = moved.detach().requires_grad_()
        distance = matching_distance(clean, self.features(network(leaf)), self.parameters)
        (gradient,) = torch.autograd.grad(distance, leaf)
        return unit_gradient(gradient)

    def generate(self, latents: Tensor, delta: Tensor, moved: Tensor, gradient: Tensor) -> Tensor:
        """G(z, δ, x', ∇L_ot) for some latents of each image, in one pass.

        Args:
            latents: (k, n, latent).
            delta: The perturbation so far, (n, c, h, w).
            moved: x', in [0, 1].
            gradient: As the generator is shown it.

        Returns:
            Perturbations within ±ε, (k, n, c, h, w).
        """
        epsilon = self.parameters.epsilon
        seen = torch.cat([delta / epsilon, 2 * moved - 1, gradient], dim=1)
        made: Tensor = self.generator.network(seen.repeat(len(latents), 1, 1, 1), latents.flatten(0, 1))
        return epsilon * torch.tanh(made).view(*latents.shape[:2], *made.shape[1:])

    def apply(self, images: Tensor, moved: Tensor, delta: Tensor) -> Tensor:
        """x': the generator's output on the clean image or on the last x', within the ball and [0, 1]."""
        origin = images if self.parameters.perturbs == "clean" else moved
        perturbed: Tensor = LInfBall(self.parameters.epsilon).project(origin + delta, images)
        return perturbed

    def classifier_loss(self, network: Network, images: Tensor, moved: Tensor, labels: Tensor) -> Tensor:
        """L_cls: smoothed cross-entropy on x' plus L_ot, of which both sides are differentiated."""
        p = self.parameters
        clean = network(images) if p.distance_weight else None
        logits = network(moved)
        smoothing = torch_smoothing(p.label_smoothing, network.classes)
        loss = cross_entropy(logits, labels, label_smoothing=smoothing)
        if clean is None:
            return loss
        return loss + p.distance_weight * matching_distance(self.features(clean), self.features(logits), p)

    def features(self, logits: Tensor) -> Tensor:
        """What the distance compares."""
        return logits if self.parameters.features == "logits" else torch.softmax(logits, dim=1)


def mode_seeking(deltas: Tensor, latents: Tensor) -> Tensor:
    """L_ms = d(δ_1, δ_2) / d(z_1, z_2), both mean absolute differences (eq. 5).

    Args:
        deltas: Two perturbations of each image, (2, n, c, h, w).
        latents: The latents that they come from, (2, n, d).
    """
    return (deltas[0] - deltas[1]).abs().mean() / ((latents[0] - latents[1]).abs().mean() + 1e-8)


def unit_gradient(gradient: Tensor) -> Tensor:
    """The gradient with a root mean square of 1 in each channel of each image; a channel of zeros stays so.

    Gradients are many orders of magnitude apart, from image to image and over the training; only their
    direction tells where to go. (L2L-DA divides by the norm, which makes the scale depend on the size.)
    """
    # Brought near 1 first, because the square of a small gradient is no number that float32 has.
    largest = gradient.abs().amax(dim=(2, 3), keepdim=True)
    scaled = gradient / largest.clamp_min(torch.finfo(gradient.dtype).tiny)
    return scaled / scaled.square().mean(dim=(2, 3), keepdim=True).sqrt().clamp_min(1e-12)


METHOD = FSGAN
