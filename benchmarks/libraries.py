"""Importing what other people's libraries are compared with: some warn while they are imported."""

from __future__ import annotations

import importlib
import warnings
from typing import Any


def import_library(module: str) -> Any:
    """A module of another library, whatever deprecated things it does while it is imported.

    Raises:
        ImportError: It is not installed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(module)
