"""Weights from a file into a module: every tensor in its place, or a refusal that says which are not.

Nothing is unpickled but tensors: safetensors has nothing else, and of ``.pt`` files torch reads nothing else
with ``weights_only``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from holdfast.bundle import sha256_file
from holdfast.errors import UsageError
from holdfast.manifest import WeightsFile

#: What wrappers put before the names: torch's data parallelism, torch.compile, Lightning and the like.
_PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.")
_UNNEEDED = ".num_batches_tracked"
_SHOWN = 5


def load_weights(module: nn.Module, path: Path) -> WeightsFile:
    """Load a file's tensors into a module.

    Args:
        module: Its tensors are written over.
        path: A safetensors file, or a ``state_dict`` that ``torch.save`` wrote, alone or as one entry among
            others that are none, e.g. ``{"state_dict": …, "epoch": 90}``.

    Returns:
        What the manifest says of the file.

    Raises:
        UsageError: There is no such file, it holds something else, or its tensors are another module's.
    """
    if not path.is_file():
        raise UsageError(f"There is no file {path}.", hint="Name the file of the weights with --weights.")
    tensors = _read(path)
    own = module.state_dict()
    tensors = _without_prefix(tensors, own)
    _check(path, tensors, own)
    module.load_state_dict(tensors, strict=False)
    return WeightsFile(name=path.name, sha256=sha256_file(path))


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        try:
            found: dict[str, Tensor] = load_file(path)
        except (OSError, SafetensorError) as error:
            raise UsageError(f"{path} cannot be read: {error}.") from None
        return found
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a file that is none makes of its unpickler
        raise UsageError(
            f"{path} holds something other than tensors, and nothing else is ever unpickled.",
            hint="Where the model is: torch.save(model.state_dict(), FILE), or safetensors.torch.save_model.",
        ) from error
    return _state_of(path, content)


def _state_of(path: Path, content: Any) -> dict[str, Tensor]:
    """The ``state_dict`` in what was read: the whole of it, or the one entry that is one."""
    if _is_state(content):
        return dict(content)
    found = {key: value for key, value in content.items() if _is_state(value)} if _is_mapping(content) else {}
    if len(found) == 1:
        return dict(next(iter(found.values())))
    if found:
        raise UsageError(
            f"{path} holds several sets of weights: {', '.join(map(str, found))}.",
            hint="Save the one that is meant: torch.save(torch.load(FILE, weights_only=True)[NAME], OTHER)",
        )
    raise UsageError(f"{path} holds no weights by name.", hint="Save model.state_dict() in it.")


def _is_mapping(content: Any) -> bool:
    return isinstance(content, Mapping)


def _is_state(content: Any) -> bool:
    return bool(
        _is_mapping(content)
        and content
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
    )


def _without_prefix(tensors: dict[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors without what wrappers put before all their names, if that makes them fit better."""
    while not own.keys() & tensors.keys():
        for prefix in _PREFIXES:
            if tensors and all(name.startswith(prefix) for name in tensors):
                tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
                break
        else:
            break
    return tensors


def _check(path: Path, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> None:
    missing = [name for name in own if name not in tensors and not name.endswith(_UNNEEDED)]
    extra = [name for name in tensors if name not in own]
    shapes = [
        f"{name} is {_shape(tensors[name])} in the file and {_shape(own[name])} in the module"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    bad = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    wrong = []
    if missing:
        wrong.append(f"{len(missing)} of the module's tensors are not in it: {_some(missing)}")
    if extra:
        wrong.append(f"{len(extra)} of its tensors are none of the module's: {_some(extra)}")
    if shapes:
        wrong.append(_some(shapes))
    if bad:
        wrong.append(f"values that are not finite numbers are in {_some(bad)}")
    if wrong:
        raise UsageError(
            f"{path} does not fit the module: {'; '.join(wrong)}.",
            hint="The module has to be built as it was trained, e.g. with --set num_classes=10."
            if missing or extra or shapes
            else "The training that left them had diverged.",
        )


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"
