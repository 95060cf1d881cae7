"""Training methods, one file per paper. A recipe's ``method.name`` is the file's name with dashes."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

from holdfast.errors import UsageError
from training.methods.method import Method, MethodParameters

__all__ = ["Method", "MethodParameters", "find", "names"]

_NOT_METHODS = {"companion", "method"}


def names() -> list[str]:
    """The methods there are, by their recipes' names."""
    return sorted(
        module.name.replace("_", "-")
        for module in pkgutil.iter_modules(__path__)
        if module.name not in _NOT_METHODS
    )


def find(name: str) -> type[Method[Any]]:
    """The method of that name.

    Raises:
        UsageError: There is none.
    """
    if name not in names():
        raise UsageError(f"There is no training method {name!r}.", hint=f"There are: {', '.join(names())}.")
    method: type[Method[Any]] = import_module(f"{__name__}.{name.replace('-', '_')}").METHOD
    return method
