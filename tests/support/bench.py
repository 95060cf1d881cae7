"""A bench to measure with that opens no bundle."""

from __future__ import annotations

from pathlib import Path

from holdfast.attacks import Oracle
from holdfast.manifest import Defence
from training.evaluation.line import Through
from training.evaluation.measurement import Bench


class OneOracle(Bench):
    """A bench on which every bundle is the same oracle."""

    def __init__(self, oracle: Oracle) -> None:
        super().__init__(Path("nowhere"))
        self._only = oracle

    def oracle(self, root: Path, defence: Defence, through: Through = "bpda") -> Oracle:
        del root, defence, through
        return self._only
