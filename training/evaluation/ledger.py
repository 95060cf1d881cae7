"""What was measured already: an interrupted evaluation goes on, and tables share their measurements.

Every measurement has a file, named by all that decides its outcome. A line of it is the outcome of a range of
images, written as soon as it is known; the same measurement on more images only measures those.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.attacks.flags import Flag
from training.evaluation.outcome import Bools, Outcome, join


@dataclass(frozen=True)
class Entry:
    """The outcome of the images ``start`` to ``stop``."""

    start: int
    stop: int
    outcome: Outcome


class Ledger:
    """The file of one measurement.

    Args:
        directory: Where files lie, a directory for each bundle.
        subject: All that decides the outcome, as plain JSON: another subject has another file.
    """

    def __init__(self, directory: Path, subject: dict[str, Any]) -> None:
        self._subject = subject
        text = json.dumps(subject, sort_keys=True)
        self.path = directory / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.jsonl"
        self._entries = list(self._read())

    def put(self, entry: Entry) -> None:
        """Keep an outcome."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(_encode(entry)) + "\n"
        with self.path.open("a+b", buffering=0) as file, _alone(file):
            if file.seek(0, 2) == 0:
                line = json.dumps({"subject": self._subject}) + "\n" + line
            else:
                file.seek(-1, 2)
                if file.read(1) != b"\n":  # a line that a kill tore must not take this one with it
                    line = "\n" + line
            file.write(line.encode())
        self._entries.append(entry)

    def forget(self) -> None:
        """Measure anew."""
        self.path.unlink(missing_ok=True)
        self._entries = []

    def missing(self, images: int, size: int) -> list[tuple[int, int]]:
        """The ranges of the first ``images`` that are not known, each of ``size`` at most."""
        known = np.zeros(images, dtype=np.bool_)
        for entry in self._entries:
            known[entry.start : entry.stop] = True
        ranges = []
        for start in range(0, images, size):
            stop = min(start + size, images)
            gaps = start + np.flatnonzero(~known[start:stop])
            if len(gaps):
                ranges.append((int(gaps[0]), int(gaps[-1]) + 1))
        return ranges

    def outcome(self, images: int) -> Outcome:
        """Of the first ``images``, all of which are known."""
        parts, done = [], 0
        for entry in sorted(self._entries, key=lambda one: (one.start, -one.stop)):
            start, stop = max(entry.start, done), min(entry.stop, images)
            if start < stop and start == done:
                parts.append(_part(entry, start, stop))
                done = stop
        if done < images:
            raise ValueError(f"{self.path}: images {done} to {images} are not measured")
        return join(parts)

    def _read(self) -> list[Entry]:
        if not self.path.is_file():
            return []
        entries = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            # The last line of a killed evaluation may be torn: those images are measured again.
            with contextlib.suppress(json.JSONDecodeError, KeyError, TypeError, ValueError):
                entries.append(_decode(json.loads(line)))
        return entries


@contextlib.contextmanager
def _alone(file: io.FileIO) -> Iterator[None]:
    """While another process writes to the file, wait."""
    try:
        import fcntl
    except ModuleNotFoundError:  # not on Windows
        yield
        return
    fcntl.flock(file, fcntl.LOCK_EX)  # until the file is closed
    yield


def _part(entry: Entry, start: int, stop: int) -> Outcome:
    whole = entry.outcome
    if (start, stop) == (entry.start, entry.stop):
        return whole
    rows = slice(start - entry.start, stop - entry.start)
    share = (stop - start) / len(whole)
    return Outcome(
        clean=whole.clean[rows],
        right=whole.right[rows],
        success=whole.success[rows],
        lost=whole.lost[rows],
        linf=whole.linf[rows],
        l2=whole.l2[rows],
        forwards=round(whole.forwards * share),
        backwards=round(whole.backwards * share),
        gradients=round(whole.gradients * share),
        zeros=round(whole.zeros * share),
        blind={name: round(count * share) for name, count in whole.blind.items()},
        raised=whole.raised,
        seconds=whole.seconds * share,
    )


def _encode(entry: Entry) -> dict[str, Any]:
    one = entry.outcome
    bools = {name: _bits(getattr(one, name)) for name in ("clean", "right", "success", "lost")}
    norms = {name: [float(f"{value:.6g}") for value in getattr(one, name)] for name in ("linf", "l2")}
    counts = {name: getattr(one, name) for name in ("forwards", "backwards", "gradients", "zeros", "blind")}
    raised = [[flag.name, flag.meaning] for flag in one.raised]
    seconds = round(one.seconds, 3)
    span = {"start": entry.start, "stop": entry.stop}
    return span | bools | norms | counts | {"raised": raised, "seconds": seconds}


def _decode(content: dict[str, Any]) -> Entry:
    start, stop = content.pop("start"), content.pop("stop")
    for name in ("clean", "right", "success", "lost"):
        content[name] = np.array([bit == "1" for bit in content[name]], dtype=np.bool_)
        if len(content[name]) != stop - start:
            raise ValueError("torn")
    for name in ("linf", "l2"):
        content[name] = np.array(content[name], dtype=np.float32)
    content["raised"] = tuple(Flag(*pair) for pair in content["raised"])
    return Entry(start, stop, Outcome(**content))


def _bits(values: Bools) -> str:
    return "".join("1" if value else "0" for value in values)
