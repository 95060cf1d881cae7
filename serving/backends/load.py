"""How busy a backend is, for those that can tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Load:
    """What a backend has to do at a moment.

    Attributes:
        waiting: Images that wait for a model.
        running: Images that a model is busy with, or requests where the backend is another server.
        limit: How many may wait, or be under way at another server, before more are refused.
    """

    waiting: int
    running: int
    limit: int


@runtime_checkable
class Loaded(Protocol):
    """A backend that can tell."""

    def load(self) -> Load:
        """How busy it is. Answers at once, never raises."""
