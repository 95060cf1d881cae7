"""Errors of running TorchServe.

HoldfastError
└── TorchServeError       TorchServe cannot be started, or has ended
    └── JavaNotFoundError there is no Java that it could run on
"""

from __future__ import annotations

from holdfast.errors import HoldfastError


class TorchServeError(HoldfastError):
    """TorchServe cannot be started, or has ended by itself."""


class JavaNotFoundError(TorchServeError):
    """There is no Java runtime that TorchServe could run on."""
