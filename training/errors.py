"""Errors of the training half.

HoldfastError
└── ExportError     a network cannot be exported, or its export does not agree with it
"""

from __future__ import annotations

from holdfast.errors import HoldfastError


class ExportError(HoldfastError):
    """A network cannot be exported, or what was exported does not compute what the network does."""
