"""Training methods, one file per paper. A recipe's ``method.name`` is the file's name with dashes.

A method from elsewhere is named by where it is: ``mypackage.mymethod:MyMethod``.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

from holdfast.errors import UsageError
from training.import_path import is_import_path, load_object
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

    Args:
        name: One of :func:`names`, or ``package.module:attribute`` for a method from elsewhere.

    Raises:
        UsageError: There is none, or what is named is no method.
    """
    if is_import_path(name):
        return _from_elsewhere(name)
    if name not in names():
        raise UsageError(
            f"There is no training method {name!r}.",
            hint=f"There are: {', '.join(names())}; one of your own is named as package.module:Class.",
        )
    method: type[Method[Any]] = import_module(f"{__name__}.{name.replace('-', '_')}").METHOD
    return method


def _from_elsewhere(reference: str) -> type[Method[Any]]:
    found = load_object(reference)
    if not (isinstance(found, type) and issubclass(found, Method)):
        raise UsageError(
            f"{reference} is no training method.", hint="Derive a class from training.methods.Method."
        )
    parameters = getattr(found, "Parameters", None)
    if not (isinstance(parameters, type) and issubclass(parameters, MethodParameters)):
        raise UsageError(
            f"{reference} does not say what parameters it takes.",
            hint="Give the class an attribute Parameters, derived from training.methods.MethodParameters.",
        )
    missing = sorted(found.__abstractmethods__)
    if missing:
        raise UsageError(f"{reference} has no {', '.join(missing)}.", hint="See training.methods.Method.")
    return found
