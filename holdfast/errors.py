"""Errors that a person can act on.

    HoldfastError
    ├── UsageError              a value that was given cannot be used
    ├── MissingExtraError       an optional part of Holdfast is not installed
    ├── BundleError             see holdfast.bundle
    └── ImageError              see holdfast.images

Every message says what was wrong and what was expected; ``hint`` says what to do about it.
"""

from __future__ import annotations


class HoldfastError(Exception):
    """Base of every error that Holdfast raises on purpose.

    Args:
        message: What was wrong and what was expected, in one or two sentences.
        hint: What the reader can do about it, or an empty string where the message says it already.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(HoldfastError):
    """A value that the caller gave cannot be used."""


class MissingExtraError(HoldfastError):
    """An optional part of Holdfast is needed and not installed.

    Args:
        module: The module whose import failed.
        extra: The extra that brings it, e.g. ``train``.
        purpose: What needs it, as the subject of the sentence, e.g. ``"Training"``.
    """

    def __init__(self, module: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the Python package '{module}', which is not installed.",
            hint=f"Install it with: pip install 'holdfast[{extra}]'",
        )
        self.module = module
        self.extra = extra
