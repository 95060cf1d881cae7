"""Importing the libraries that Holdfast is compared with: they are not all installed, and some warn."""

from __future__ import annotations

import importlib
import sys
import warnings
from importlib.util import find_spec
from types import ModuleType
from typing import Any


def import_library(module: str, *, unused: str | None = None) -> Any:
    """A module of another library, whatever deprecated things it does while it is imported.

    Args:
        module: Its full name.
        unused: A module that it imports and that nothing here makes it use: it may be missing.

    Raises:
        ImportError: It is not installed.
    """
    stand_in = unused if unused is not None and find_spec(unused) is None else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if stand_in is not None:
            sys.modules[stand_in] = ModuleType(stand_in)
        try:
            return importlib.import_module(module)
        finally:
            if stand_in is not None:
                del sys.modules[stand_in]


def is_installed(module: str, *, unused: str | None = None) -> bool:
    """Whether it can be imported; see :func:`import_library`."""
    try:
        import_library(module, unused=unused)
    except ImportError:
        return False
    return True
