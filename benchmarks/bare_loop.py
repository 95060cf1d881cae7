"""The least that classifying an image can cost here: decode it, run the session on it, in a loop.

No server, no batching, nobody else: what the gateway is held against. It is a process of its own, so that
nothing of the benchmark runs beside it; the session is opened as the gateway's embedded backend opens it.

Run by itself, the file answers commands on standard input, one JSON object a line; :class:`BareLoop` is the
other end of that.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.errors import HoldfastError


class BareLoopError(HoldfastError):
    """The process with the loop ended."""


class BareLoop:
    """The process with the loop, from entering to leaving; a context manager.

    Args:
        bundle: The bundle's directory.
        images: Encoded images' files.
        threads: Of the session.
        environment: The process's.
    """

    def __init__(
        self, bundle: Path, images: Sequence[Path], threads: int, environment: dict[str, str]
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(bundle), str(threads), *map(str, images)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> BareLoop:
        return self

    def __exit__(self, *_details: object) -> None:
        """End the process."""
        self._process.communicate()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._process.pid

    def logits(self) -> list[list[float]]:
        """What the session answers for each image."""
        answer: list[list[float]] = self._ask(do="logits")
        return answer

    def measure(self, what: str, seconds: float, lead_in: float = 0.2) -> dict[str, Any]:
        """Go round for ``seconds``.

        Args:
            what: ``decode+run`` or ``run``.
            seconds: How long to measure.
            lead_in: Seconds of the same before the measurement.

        Returns:
            ``seconds``, ``latencies`` of each image, and ``classes``: every answer that each image got.
        """
        answer: dict[str, Any] = self._ask(do="measure", what=what, seconds=seconds, lead_in=lead_in)
        return answer

    def _ask(self, **command: Any) -> Any:
        if self._process.stdin is None or self._process.stdout is None:
            raise BareLoopError("The bare loop's process has no pipes.")
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (OSError, ValueError):
            raise BareLoopError("The bare loop's process has ended; what it wrote is above.") from None


def _answer_commands(bundle: Path, threads: int, files: list[Path]) -> None:
    from holdfast.bundle import PREDICT, Bundle
    from holdfast.images import decode
    from holdfast.sessions import open_session

    opened = Bundle.open(bundle)
    spec = opened.manifest.input
    session = open_session(opened, PREDICT, threads=threads)
    encoded = [file.read_bytes() for file in files]
    decoded = [decode(data, spec)[np.newaxis] for data in encoded]

    def run(pixels: np.ndarray) -> np.ndarray:
        logits: np.ndarray = session.run(["logits"], {"images": pixels})[0]
        return logits

    loops: dict[str, Callable[[int], np.ndarray]] = {
        "decode+run": lambda index: run(decode(encoded[index], spec)[np.newaxis]),
        "run": lambda index: run(decoded[index]),
    }
    for line in sys.stdin:
        command = json.loads(line)
        answer: Any
        if command["do"] == "logits":
            answer = [run(pixels)[0].tolist() for pixels in decoded]
        else:
            classify = loops[command["what"]]
            _go_round(classify, len(encoded), command["lead_in"])
            answer = _go_round(classify, len(encoded), command["seconds"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _go_round(classify: Callable[[int], np.ndarray], images: int, seconds: float) -> dict[str, Any]:
    latencies: list[float] = []
    classes: list[set[int]] = [set() for _ in range(images)]
    index = 0
    cpu = time.process_time()
    began = now = time.perf_counter()
    while now - began < seconds:
        sent = now
        classes[index].add(int(classify(index).argmax()))
        now = time.perf_counter()
        latencies.append(now - sent)
        index = (index + 1) % images
    return {
        "seconds": now - began,
        "cpu_seconds": time.process_time() - cpu,
        "latencies": latencies,
        "classes": [sorted(answers) for answers in classes],
    }


if __name__ == "__main__":
    _answer_commands(Path(sys.argv[1]), int(sys.argv[2]), [Path(name) for name in sys.argv[3:]])
