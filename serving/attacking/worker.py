"""An attack worker: a process that carries out one attack at a time, on few cores and behind everything else.

    python -m serving.attacking.worker THREADS NICENESS MODELS

Messages come in on stdin and go out on stdout. The worker ends when stdin does: when the gateway closes it,
and also when the gateway is killed. It is deaf to SIGINT and SIGTERM, which a terminal or a service manager
sends to the gateway and to it alike: the gateway finishes what is in flight first.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from typing import IO

import numpy as np

from holdfast.attacking.cost import Speed, measure
from holdfast.attacking.execution import Attacked, execute
from holdfast.attacks.oracle import UnsupportedLossError
from holdfast.bundle import BundleError
from holdfast.errors import HoldfastError
from serving.attacking.messages import (
    DEAF_TO,
    Begin,
    Cancel,
    Ended,
    Failure,
    Job,
    Measure,
    Progress,
    read,
    write,
)
from serving.attacking.oracles import Oracles

#: Seconds between two reports of progress.
_REPORT_EVERY = 0.05


class _Stopped(Exception):  # noqa: N818 - it is no error
    """The gateway wants no more of this job."""


class Worker:
    """Does jobs, one after the other, until the gateway is gone.

    Args:
        requests: Where messages come from.
        answers: Where they go.
        oracles: The models.
    """

    def __init__(self, requests: IO[bytes], answers: IO[bytes], oracles: Oracles) -> None:
        self._requests = requests
        self._answers = answers
        self._oracles = oracles
        self._jobs: queue.SimpleQueue[Begin] = queue.SimpleQueue()
        #: The newest job that is to be stopped; numbers only grow.
        self._cancelled = -1

    def run(self) -> None:
        """Work until the gateway closes the pipe, and end the process then."""
        threading.Thread(target=self._listen, name="listen", daemon=True).start()
        while True:
            begin = self._jobs.get()
            self._send(Ended(begin.number, self._do(begin)))

    def _listen(self) -> None:
        """Hear what the gateway says while a job runs."""
        while (message := read(self._requests)) is not None:
            if isinstance(message, Cancel):
                self._cancelled = max(self._cancelled, message.number)
            else:
                self._jobs.put(message)
        # The gateway is gone, maybe in the middle of a job that nobody waits for any more.
        os._exit(0)

    def _do(self, begin: Begin) -> Speed | Attacked | Failure:
        try:
            return self._carry_out(begin.number, begin.job)
        except _Stopped:
            return Failure("stopped", "The attack was stopped.")
        except UnsupportedLossError as error:
            return Failure("not-applicable", f"The attack cannot be run on this model: {error}.")
        except BundleError as error:
            return Failure("bundle", "The model's bundle cannot be opened any more.", error.message)
        except HoldfastError as error:
            return Failure("model", f"{error.message} {error.hint}".strip())
        except Exception:  # noqa: BLE001 - the gateway logs it, and the worker goes on
            return Failure("unforeseen", "The attack failed on this image.", traceback.format_exc())

    def _carry_out(self, number: int, job: Job) -> Speed | Attacked:
        self._check(number)
        oracle = self._oracles.get(job.model)
        self._check(number)
        if isinstance(job, Measure):
            noise = np.random.default_rng(0).random((1, *self._oracles.shape(job.model)), dtype=np.float32)
            return measure(oracle, noise, clock=self._oracles.clock)
        return execute(
            oracle,
            job.images,
            job.labels,
            job.parameters,
            trace=job.trace,
            progress=_Reporter(self, number),
            check=lambda: self._check(number),
        )

    def _check(self, number: int) -> None:
        if number <= self._cancelled:
            raise _Stopped

    def _send(self, message: object) -> None:
        try:
            write(self._answers, message)
        except OSError:
            os._exit(0)


class _Reporter:
    """The progress of one attack."""

    def __init__(self, worker: Worker, number: int) -> None:
        self._worker = worker
        self._number = number
        self._next = 0.0

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _REPORT_EVERY
            self._worker._send(Progress(self._number, done, total))


def main(arguments: list[str]) -> None:
    """Be a worker."""
    for number in DEAF_TO:
        signal.signal(number, signal.SIG_IGN)
    if sys.platform != "win32":
        # Until here they were held back by whoever started this process.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, DEAF_TO)
    threads, niceness, models = map(int, arguments)
    # Before ONNX Runtime makes its threads, which are as nice as the one that makes them.
    with suppress(OSError, AttributeError):
        os.nice(niceness)
    # Whatever prints, prints where logs go: stdout is the pipe.
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    requests = os.fdopen(os.dup(0), "rb", buffering=0)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    Worker(requests, answers, Oracles(most=models, threads=threads)).run()


if __name__ == "__main__":
    main(sys.argv[1:])
