"""Standard training: cross-entropy on the images as they are. The baseline that no table goes without."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn.functional import cross_entropy

from holdfast.attacks.noise import Noise
from training.methods.method import Method, MethodParameters
from training.models.network import Network


class Parameters(MethodParameters):
    """Nothing but label smoothing."""

    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


class Standard(Method[Parameters]):
    """min_θ E L(f_θ(x), y)."""

    Parameters = Parameters
    paper = None

    def loss(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        """Cross-entropy on the clean batch."""
        del noise
        return cross_entropy(network(images), labels, label_smoothing=self.parameters.label_smoothing)


METHOD = Standard
