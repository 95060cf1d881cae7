"""What an interrupted evaluation had measured, so that the same command goes on where it stopped."""

from __future__ import annotations

import contextlib
import hashlib
import json
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt


class Journal:
    """One line for each batch that was attacked; the file is deleted when all is measured.

    Args:
        directory: Where journals lie.
        subject: All that decides the figures, as text: another subject has another journal.
    """

    def __init__(self, directory: Path, subject: str) -> None:
        self.path = directory / f"{hashlib.sha256(subject.encode()).hexdigest()[:16]}.jsonl"
        self._entries: dict[tuple[str, int], tuple[npt.NDArray[np.bool_], list[str]]] = {}
        directory.mkdir(parents=True, exist_ok=True)
        if self.path.is_file():
            self._read()
        self.found = len(self._entries)
        self._file = self.path.open("a", encoding="utf-8")

    def get(self, attack: str, start: int) -> tuple[npt.NDArray[np.bool_], list[str]] | None:
        """Which images of a batch survived, and the flags that were raised, if it was measured before."""
        return self._entries.get((attack, start))

    def put(self, attack: str, start: int, survived: npt.NDArray[np.bool_], flags: list[str]) -> None:
        """Keep the outcome of a batch."""
        entry = {"attack": attack, "start": start, "survived": survived.astype(int).tolist(), "flags": flags}
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None:
            self.path.unlink(missing_ok=True)

    def _read(self) -> None:
        for line in self.path.read_text(encoding="utf-8").splitlines():
            # The last line of a killed evaluation may be torn: that batch is measured again.
            with contextlib.suppress(json.JSONDecodeError):
                entry = json.loads(line)
                survived = np.array(entry["survived"], dtype=np.bool_)
                self._entries[entry["attack"], entry["start"]] = survived, entry["flags"]
