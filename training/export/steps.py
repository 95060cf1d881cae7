"""The steps of an export, for a person who waits."""

from __future__ import annotations

from collections.abc import Callable

from training.export.verify import comparisons
from training.models import Network
from training.models.evidence import evidence_of

#: Called with the number of steps taken and the name of the next one.
Progress = Callable[[int, str], None]


def unwatched(done: int, step: str) -> None:
    """The progress that nobody looks at."""
    del done, step


def count_steps(
    network: Network,
    shape: tuple[int, int, int],
    *,
    torchscript: bool,
    half: bool = False,
    gradient: bool = True,
) -> int:
    """How many steps an export of this network reports.

    Args:
        network: The network.
        shape: One image's shape (c, h, w).
        torchscript: Whether ``model.pt`` is written too.
        half: Whether the weights are stored as float16.
        gradient: Whether there is a gradient graph.
    """
    extra = {None: 0, "centre": 1, "discriminator": 3}[evidence_of(network)]
    return 4 + gradient + comparisons(shape) + extra + torchscript + half


class Steps:
    """Counts the steps of an export; a batch compared counts as one."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._done = 0

    def take(self, step: str) -> None:
        """Report the steps done, and the next one's name."""
        self._progress(self._done, step)
        self._done += 1
