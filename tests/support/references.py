"""Other people's implementations of the attacks, to hold ours against."""

from __future__ import annotations

import warnings
from types import ModuleType

import pytest
from torch import Tensor, nn

with warnings.catch_warnings():
    # foolbox imports a name that scipy has moved.
    warnings.simplefilter("ignore", DeprecationWarning)
    import eagerpy
    import foolbox

__all__ = ["adv_lib", "by_foolbox", "by_foolbox_towards", "foolbox"]


def adv_lib() -> ModuleType:
    """adv-lib's attacks. It is hard to install: its dependency visdom asks for setuptools below 81."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return pytest.importorskip("adv_lib.attacks", exc_type=ImportError)  # type: ignore[no-any-return]


def by_foolbox(attack: foolbox.attacks.Attack, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """What a minimising attack of foolbox makes of the images."""
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    found: Tensor = attack.run(model, eagerpy.astensor(images), eagerpy.astensor(labels)).raw
    return found


def by_foolbox_towards(
    attack: foolbox.attacks.Attack, network: nn.Module, images: Tensor, targets: Tensor
) -> Tensor:
    """The same towards targets."""
    model = foolbox.PyTorchModel(network, bounds=(0, 1), device="cpu")
    aim = foolbox.criteria.TargetedMisclassification(eagerpy.astensor(targets))
    found: Tensor = attack.run(model, eagerpy.astensor(images), aim).raw
    return found
