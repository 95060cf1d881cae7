"""Errors of the training half.

HoldfastError
└── ExportError             a network cannot be exported, or its export does not agree with it
    └── GradientError       its gradient cannot, or does not; its prediction can
"""

from __future__ import annotations

from holdfast.errors import HoldfastError


class ExportError(HoldfastError):
    """A network cannot be exported, or what was exported does not compute what the network does."""


class GradientError(ExportError):
    """The gradient of a network cannot be exported; what it answers can."""
