"""Python objects that people name: ``package.module:attribute``."""

from __future__ import annotations

import os
import re
import sys
from importlib import import_module
from typing import Any

from holdfast.errors import UsageError

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_import_path(text: str) -> bool:
    """Whether a text is of the form ``package.module:attribute``."""
    return _REFERENCE.fullmatch(text) is not None


def load_object(reference: str) -> Any:
    """Import what ``package.module:attribute`` names; the current directory is looked into first.

    Raises:
        UsageError: It has another form, there is no such module or attribute, or importing it failed.
    """
    if not is_import_path(reference):
        raise UsageError(
            f"{reference!r} is no import path.",
            hint="Name a module as Python imports it, and what is in it: mypackage.mymodel:build",
        )
    module_name, _, path = reference.partition(":")
    here = os.getcwd()  # noqa: PTH109 - sys.path holds text
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)  # the command's own directory stands there, where `python -m` has this one
    try:
        found: Any = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise UsageError(
                f"There is no module {error.name!r}.",
                hint=f"It is looked for in {here} and where packages are; install it, or set PYTHONPATH.",
            ) from None
        raise UsageError(
            f"{module_name} cannot be imported: it needs the module {error.name!r}.",
            hint="Install it where holdfast is installed.",
        ) from error
    except Exception as error:
        raise UsageError(f"{module_name} cannot be imported: {type(error).__name__}: {error}") from error
    for name in path.split("."):
        if not hasattr(found, name):
            public = [each for each in vars(found) if not each.startswith("_")][:20]
            raise UsageError(
                f"{module_name} has no {path!r}.", hint=f"It has: {', '.join(public)}." if public else ""
            )
        found = getattr(found, name)
    return found
