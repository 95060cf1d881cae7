"""PGD on L∞ by other libraries, behind one call each, and as the bare loop that a torch user would write.

Every side attacks the same network from the images themselves, takes every step with every image, and gives
back the last iterate: what is measured is the same arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from libraries import import_library, is_installed
from torch import Tensor, nn
from torch.nn import functional

#: From images (n, c, h, w) and labels (n,), float32 and int64 on the host, to adversarial images.
Run = Callable[[np.ndarray, np.ndarray], np.ndarray]

BARE = "bare torch loop"

_ART_PGD = "art.attacks.evasion.projected_gradient_descent"


@dataclass(frozen=True)
class Settings:
    """Of PGD on L∞, for every side alike.

    Attributes:
        epsilon: The budget, in image units.
        step_size: Of one step, in image units.
        steps: Gradient steps.
    """

    epsilon: float = 8 / 255
    step_size: float = 2 / 255
    steps: int = 20


@dataclass(frozen=True)
class Target:
    """What a peer attacks: a network in eval mode that answers logits, and what libraries ask of it."""

    network: nn.Module
    shape: tuple[int, int, int]
    classes: int


@dataclass(frozen=True)
class Peer:
    """Another implementation.

    Attributes:
        name: In tables.
        package: The distribution to install.
        module: What is imported of it; None for what needs torch alone.
        make: Sets it up.
    """

    name: str
    package: str
    module: str | None
    make: Callable[[Target, Settings], Run]

    @property
    def missing(self) -> bool:
        """Whether it is not installed here."""
        return self.module is not None and not is_installed(self.module)


def bare_loop(target: Target, settings: Settings) -> Run:
    """The least code that is PGD, with nothing around it."""

    def run(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        originals, truth = torch.from_numpy(images), torch.from_numpy(labels)
        low = (originals - settings.epsilon).clamp_(min=0)
        high = (originals + settings.epsilon).clamp_(max=1)
        current = originals
        for _ in range(settings.steps):
            current = current.detach().requires_grad_()
            loss = functional.cross_entropy(target.network(current), truth, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, current)
            current = current.detach().add(gradient.sign_(), alpha=settings.step_size)
            current = current.clamp_(low, high)
        return current.numpy()

    return run


def foolbox_pgd(target: Target, settings: Settings) -> Run:
    """foolbox's LinfPGD; it also asks the model whether the result fools it."""
    foolbox: Any = import_library("foolbox")
    model = foolbox.PyTorchModel(target.network, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfPGD(
        abs_stepsize=settings.step_size, steps=settings.steps, random_start=False
    )

    def run(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        _, clipped, _ = attack(
            model, torch.from_numpy(images), torch.from_numpy(labels), epsilons=settings.epsilon
        )
        return _host(clipped)

    return run


def torchattacks_pgd(target: Target, settings: Settings) -> Run:
    """torchattacks' PGD."""
    torchattacks: Any = import_library("torchattacks")
    attack = torchattacks.PGD(
        target.network,
        eps=settings.epsilon,
        alpha=settings.step_size,
        steps=settings.steps,
        random_start=False,
    )

    def run(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        return _host(attack(torch.from_numpy(images), torch.from_numpy(labels)))

    return run


def art_pgd(target: Target, settings: Settings) -> Run:
    """ART's PGD for torch; it also asks the model about the images and about the result."""
    evasion: Any = import_library(f"{_ART_PGD}.projected_gradient_descent_pytorch")
    estimators: Any = import_library("art.estimators.classification")
    classifier = estimators.PyTorchClassifier(
        target.network,
        loss=nn.CrossEntropyLoss(reduction="sum"),
        input_shape=target.shape,
        nb_classes=target.classes,
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )
    attack = evasion.ProjectedGradientDescentPyTorch(
        classifier,
        norm=np.inf,
        eps=settings.epsilon,
        eps_step=settings.step_size,
        max_iter=settings.steps,
        num_random_init=0,
        batch_size=2**20,
        verbose=False,
    )

    def run(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        found: np.ndarray = attack.generate(images, labels)
        return found

    return run


#: Those that one environment holds beside ours come first; the others want one of their own.
PEERS = (
    Peer(BARE, "torch", None, bare_loop),
    Peer("foolbox", "foolbox", "foolbox", foolbox_pgd),
    Peer("torchattacks", "torchattacks", "torchattacks", torchattacks_pgd),
    Peer("ART", "adversarial-robustness-toolbox", "art.attacks.evasion", art_pgd),
)


def _host(images: Tensor) -> np.ndarray:
    found: np.ndarray = images.detach().cpu().numpy()
    return found
