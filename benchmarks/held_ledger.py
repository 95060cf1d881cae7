"""What has been measured so far, side by side, batch by batch: the same command goes on where it stopped."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Entry:
    """One side's outcome on one batch of test images.

    Attributes:
        side: Ours, or the other library.
        settings: All that decides the outcome, as text: what was measured under another is not used.
        start: The first test image.
        stop: One after the last.
        attacked: Which of the images the model gets right; nobody attacks the others.
        fooled: For each attacked image, whether the side's image fools the model from within the budget.
        norms: For each attacked image, the L2 norm of the side's perturbation.
        seconds: CPU time.
    """

    side: str
    settings: str
    start: int
    stop: int
    attacked: Sequence[bool]
    fooled: Sequence[bool]
    norms: Sequence[float]
    seconds: float


class Ledger:
    """The outcomes of one match on one bundle, in a file with a line for each.

    Args:
        path: The file; it need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._entries: dict[tuple[str, str, int, int], Entry] = {}
        for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
            # The last line of what was killed may be torn: that batch is measured again.
            with contextlib.suppress(json.JSONDecodeError):
                self._keep(Entry(**json.loads(line)))

    def find(self, side: str, settings: str, start: int, stop: int) -> Entry | None:
        """What was measured of a side on a batch; the newest, if it was measured again."""
        return self._entries.get((side, settings, start, stop))

    def add(self, entry: Entry) -> None:
        """Keep an outcome."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(entry)) + "\n")
        self._keep(entry)

    def _keep(self, entry: Entry) -> None:
        self._entries[entry.side, entry.settings, entry.start, entry.stop] = entry
