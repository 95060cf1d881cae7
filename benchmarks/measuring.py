"""One measurement of one side: a server under load, or the bare loop by itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

import numpy as np
from bare_loop import BareLoop
from classified import Images
from gateway_report import Figures
from http_load import LoadError, drive
from machine import cpu_seconds, machine_seconds
from servers import Server

#: Holds the answer to an image, by its number, against the session's.
Check = Callable[[int, bytes], None]


def measure_server(
    server: Server,
    requests: Sequence[bytes],
    check: Check,
    callers: int,
    seconds: float,
    lead_in: float = 0.2,
) -> Figures:
    """Put a server under load, and check its answers when the time is over.

    Args:
        server: It is ready.
        requests: One for each image.
        check: Asked about every answer; raises LoadError where it is wrong.
        callers: How many there are.
        seconds: How long to measure.
        lead_in: Seconds of the same load before.

    Raises:
        LoadError: An answer is not 200, or wrong.
    """
    watch = _Watch()
    cpu = server.cpu_seconds()
    done = drive(server.address, requests, concurrency=callers, seconds=seconds, lead_in=lead_in)
    cpu = server.cpu_seconds() - cpu
    others = watch.others(cpu)
    for number, body in done.answers:
        check(number, body)
    return Figures(
        rate=done.rate,
        p50=done.percentile(50),
        p99=done.percentile(99),
        cpu=cpu / len(done.answers),
        images=len(done.answers),
        generator_cores=done.generator_cores,
        others=others,
    )


def measure_loop(loop: BareLoop, what: str, images: Images, seconds: float) -> Figures:
    """Let the bare loop go round, and check its answers.

    Raises:
        LoadError: It did not answer the same every time.
    """
    watch = _Watch()
    cpu = cpu_seconds(loop.pid)
    done = loop.measure(what, seconds)
    others = watch.others(cpu_seconds(loop.pid) - cpu)
    for found, expected in zip(done["classes"], images.expected, strict=True):
        if not set(found) <= {expected}:
            raise LoadError(f"The bare loop says classes {found} where it said {expected} before.")
    latencies = np.asarray(done["latencies"])
    return Figures(
        rate=len(latencies) / done["seconds"],
        p50=float(np.percentile(latencies, 50)),
        p99=float(np.percentile(latencies, 99)),
        cpu=done["cpu_seconds"] / len(latencies),
        images=len(latencies),
        others=others,
    )


class _Watch:
    """Counts what the whole machine does during one measurement."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._machine, self._own = machine_seconds(), time.process_time()

    def others(self, side: float) -> float:
        """Cores that were busy with neither this process nor the side, which took ``side`` CPU seconds."""
        busy = machine_seconds() - self._machine - (time.process_time() - self._own) - side
        return max(0.0, busy) / (time.monotonic() - self._began)


def check_class(server: str, images: Images) -> Check:
    """Checks of the class alone, in an answer of the gateway or of Holdfast's handler for TorchServe."""

    def check(number: int, body: bytes) -> None:
        answer = json.loads(body)
        found = answer["predictions"][0] if "predictions" in answer else answer
        images.check_class(server, number, int(found["class_index"]))

    return check
