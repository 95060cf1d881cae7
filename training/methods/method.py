"""What a training method is: a loss for one batch, and the networks it needs beside the classifier."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from holdfast.attacks.noise import Noise
from training.methods.companion import Companion
from training.models.network import Network

P = TypeVar("P", bound="MethodParameters")


@dataclass(frozen=True)
class Paper:
    """Where a method was published.

    Attributes:
        authors: As one cites them, e.g. ``Zhang & Wang``.
        title: In full.
        venue: Where it appeared, e.g. ``NeurIPS``.
        year: When.
    """

    authors: str
    title: str
    venue: str
    year: int


class MethodParameters(BaseModel):
    """Base of a method's hyper-parameters: the recipe's ``method`` section but its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Method(ABC, Generic[P]):
    """A way to train. Subclasses name their paper, their parameters, and how one batch becomes a loss.

    Args:
        parameters: The method's hyper-parameters, validated.
    """

    #: The model of the hyper-parameters.
    Parameters: ClassVar[type[MethodParameters]]
    #: Where it was published, or None for what everybody does; ``holdfast train --list`` shows it.
    paper: ClassVar[Paper | None]

    def __init__(self, parameters: P) -> None:
        self.parameters = parameters

    def companions(self, network: Network) -> dict[str, Companion]:
        """Make the networks that the method trains beside the classifier; called once, before the first step.

        The method keeps them too, and steps them inside :meth:`loss`. Weights are drawn from torch's global
        generator, which the recipe's seed has set.

        Args:
            network: The classifier, with fresh weights.

        Returns:
            By name; checkpoints know them by it.
        """
        del network
        return {}

    def readings(self) -> dict[str, float]:
        """Shares in [0, 1] that tell how the last step went, beside its loss; logged after each epoch."""
        return {}

    def exported(self, network: Network) -> Network:
        """The network that is exported: the classifier, or a network around it with what belongs to it.

        Called after :meth:`companions`, whose networks then hold the run's weights.

        Args:
            network: The classifier, trained.
        """
        return network

    @abstractmethod
    def loss(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """The scalar that the classifier's optimiser descends for this batch.

        Companions are stepped in here; the weights of ``network`` are the caller's to step.

        Args:
            network: In train mode; use ``evaluating(network)`` around an attack.
            images: (n, c, h, w) in [0, 1], augmented.
            labels: (n,).
            noise: A stream of random numbers on the images' device that is this step's own.
        """
