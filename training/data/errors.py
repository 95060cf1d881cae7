"""The error of everything that reads or checks training data."""

from __future__ import annotations

from holdfast.errors import HoldfastError


class DataError(HoldfastError):
    """A data set is missing, damaged, or not what it should be; the hint names the fix."""
