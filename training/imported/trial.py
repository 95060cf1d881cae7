"""A first look at a module of somebody else's: whether it is a classifier that can be served at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from holdfast.errors import UsageError
from training.errors import ExportError

#: Images in the first look.
_IMAGES = 3
#: How far an image's logits may lie apart, over the largest, when other images are in the batch.
_ROUNDING = 1e-3


@dataclass(frozen=True)
class Trial:
    """What the first look found.

    Attributes:
        classes: How many classes there are logits for.
        constant: Every image got the same logits, and was noise to the module.
    """

    classes: int
    constant: bool


def try_out(module: nn.Module, images: Tensor, prepare: Callable[[Tensor], Tensor]) -> Trial:
    """Pass images through a module, and refuse what no server could answer from.

    Args:
        module: In eval mode.
        images: (n, c, h, w) in [0, 1], n >= 3; the first three are used.
        prepare: What is done to images before the module.

    Raises:
        UsageError: It cannot take the images, or does not return logits.
        ExportError: Its logits are no numbers, or depend on chance or on the other images of a batch.
    """
    with torch.no_grad():
        images = prepare(images[:_IMAGES])
        logits = _logits(_pass(module, images), len(images))
        if not bool(logits.isfinite().all()):
            raise ExportError(
                "The module's logits are not finite numbers.", hint=_where_not_finite(module, images)
            )
        with _Chance() as chance:
            again = module(images)
        if not torch.equal(logits, again):
            drawn = f" It draws numbers in {', '.join(chance.drawn)}." if chance.drawn else ""
            raise ExportError(
                f"In eval mode, the module answers the same images differently each time.{drawn}",
                hint="Draw numbers in training only: nn.Dropout, or F.dropout(x, p, training=self.training).",
            )
        alone = module(images[:1])
    apart = float((alone - logits[:1]).abs().max() / logits.abs().max().clamp_min(1e-9))
    if alone.shape != logits[:1].shape or apart > _ROUNDING:
        raise ExportError(
            "An image's logits depend on the other images of its batch, which are strangers' on a server.",
            hint="Batch norm needs running statistics: nn.BatchNorm2d(..., track_running_stats=True).",
        )
    return Trial(logits.shape[1], constant=bool((logits == logits[:1]).all()))


def _pass(module: nn.Module, images: Tensor) -> Any:
    try:
        return module(images)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        shape = "x".join(map(str, images.shape[1:]))
        raise UsageError(
            f"The module fails on images of {shape}: {reason}",
            hint="Say which images it takes with --input-shape CHANNELSxHEIGHTxWIDTH.",
        ) from error


def _logits(found: Any, count: int) -> Tensor:
    if not isinstance(found, Tensor):
        how = _take_out(found)
        raise UsageError(
            f"The module returns {_describe(found)}, not logits alone.",
            hint=f"Let build return a module around it whose forward returns self.module(images){how}.",
        )
    shape = "x".join(map(str, found.shape[1:]))
    if found.dim() != 2 or len(found) != count:
        raise UsageError(
            f"For {count} images the module returns a tensor of {count}x{shape}."
            if len(found) == count
            else f"For {count} images the module returns {len(found)} rows.",
            hint="A classifier returns logits (n, classes), e.g. after flatten(1).",
        )
    if found.shape[1] < 2:
        raise UsageError(
            "The module has a single logit for an image.",
            hint="Of z, the logits of two classes are torch.cat([torch.zeros_like(z), z], 1).",
        )
    if not found.is_floating_point():
        raise UsageError(
            f"The module returns {found.dtype}, not logits.", hint="Return what argmax is taken of."
        )
    return found


def _describe(found: Any) -> str:
    if isinstance(found, dict):
        return f"{_kind(found)} with {', '.join(map(repr, found))}"
    if isinstance(found, Sequence) and not isinstance(found, str):
        return f"{_kind(found)} of {len(found)}"
    return _kind(found)


def _kind(found: Any) -> str:
    name = type(found).__name__
    return f"{'an' if name[0] in 'AEIOUaeio' else 'a'} {name}"


def _take_out(found: Any) -> str:
    """How to get at what looks like logits."""
    parts: list[tuple[Any, Any]] = []
    if isinstance(found, dict):
        parts = list(found.items())
    elif isinstance(found, Sequence):
        parts = list(enumerate(found))
    for key, value in parts:
        if isinstance(value, Tensor) and value.dim() == 2:
            return f"[{key!r}]"
    return "'s logits"


def _where_not_finite(module: nn.Module, images: Tensor) -> str:
    """The first layer that makes what is no number of what is."""
    bad = [name for name, tensor in module.state_dict().items() if not bool(tensor.isfinite().all())]
    if bad:
        return f"These weights are not finite: {', '.join(bad[:5])}."
    found: list[str] = []

    def look(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if not found and isinstance(output, Tensor) and not bool(output.isfinite().all()):
                found.append(name)

        return hook

    hooks = [
        part.register_forward_hook(look(name))
        for name, part in module.named_modules()
        if not list(part.children())
    ]
    try:
        module(images)
    finally:
        for hook in hooks:
            hook.remove()
    if found:
        return f"They are no numbers from {found[0]!r} on; is --normalise what it was trained with?"
    return "Its own code makes them so: a division by 0, or the logarithm of it."


class _Chance(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Names the operators that draw random numbers."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.drawn: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        if torch.Tag.nondeterministic_seeded in func.tags:
            name = str(func.name()).removeprefix("aten::").partition(".")[0]
            if name not in self.drawn:
                self.drawn.append(name)
        return func(*args, **(kwargs or {}))
