"""A module of somebody else's as the network that everything here works on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.imported.preprocessing import Preprocessing
from training.models import Network, Normalise


class ImportedNetwork(Network):
    """Normalisation, the module, and nothing else: its features are its logits.

    Which layer of a module of somebody else's is its last is nothing that can be told from outside.

    Args:
        module: Normalised images (n, c, h, w) to logits (n, classes).
        preprocessing: What the module expects to be done to images in [0, 1].
        classes: How many logits there are.
    """

    def __init__(self, module: nn.Module, preprocessing: Preprocessing, classes: int) -> None:
        keep_constants(module)
        normalise = Normalise(preprocessing.mean, preprocessing.std)
        super().__init__(normalise, module, classes, classes, head=nn.Identity())


def keep_constants(module: nn.Module) -> None:
    """Make buffers of a module's tensors that are none, so that they are stored with its weights."""
    for part in module.modules():
        for name, value in list(vars(part).items()):
            if isinstance(value, Tensor) and name not in part._buffers and name.isidentifier():
                delattr(part, name)
                part.register_buffer(name, value.detach().to(_stored(value)))
        part._non_persistent_buffers_set.clear()


def _stored(value: Tensor) -> torch.dtype:
    return torch.float32 if value.is_floating_point() else value.dtype
