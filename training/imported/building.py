"""From an import path to a module: whatever builds it is called, or is the module itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from holdfast.errors import UsageError
from training.import_path import load_object


def build_module(reference: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Call what ``package.module:attribute`` names, and make what comes of it plain float32 on the CPU.

    Args:
        reference: A function or a class that makes an ``nn.Module``, or an ``nn.Module``.
        arguments: What to call it with. Weights that it draws are always the same.

    Returns:
        In eval mode.

    Raises:
        UsageError: It cannot be imported or called, or gives something else.
    """
    found = load_object(reference)
    if not isinstance(found, nn.Module):
        if not callable(found):
            raise UsageError(
                f"{reference} is of type {type(found).__name__}.",
                hint="Name a function or a class that makes an nn.Module, or an nn.Module.",
            )
        found = _call(reference, found, arguments)
    elif arguments:
        raise UsageError(f"{reference} is a module already; it takes no arguments.", hint="Leave --set out.")
    if not isinstance(found, nn.Module):
        raise UsageError(
            f"{reference} gave a {type(found).__name__}, not an nn.Module.",
            hint="Return the module: logits (n, classes) of images (n, c, h, w).",
        )
    return found.to(device="cpu", dtype=torch.float32).eval()


def _call(reference: str, function: Any, arguments: Mapping[str, Any]) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            return function(**arguments)
        except Exception as error:
            given = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
            raise UsageError(
                f"{reference}({given}) failed: {type(error).__name__}: {error}",
                hint="It is called with what --set says: --set num_classes=10",
            ) from error
