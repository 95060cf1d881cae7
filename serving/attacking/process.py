"""One attack worker, seen from the gateway: a process, a thread that hears it, and one that speaks to it.

Nothing here waits for the worker on the event loop: a worker that was stopped in its tracks reads nothing,
and whoever writes to it would stand still with it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO

from holdfast.attacking.cost import Speed
from holdfast.attacking.execution import Attacked
from serving.attacking.base import AttackerLostError
from serving.attacking.messages import (
    DEAF_TO,
    Begin,
    Cancel,
    Ended,
    Failure,
    Job,
    ModelKey,
    Progress,
    read,
    write,
)

Outcome = Speed | Attacked | Failure
Report = Callable[[int, int], None]


@dataclass(frozen=True)
class WorkerSettings:
    """What a worker may use.

    Attributes:
        threads: CPU threads of one pass.
        niceness: How far it stands back behind others, 0 to 19. Of a core that it and another want, 10 gets a
            tenth, and 19 next to nothing.
        models: Models that it keeps open.
    """

    threads: int = 1
    niceness: int = 10
    models: int = 4


@dataclass
class _Task:
    """What the worker is doing."""

    number: int
    answer: asyncio.Future[Outcome]
    report: Report


class WorkerProcess:
    """A running worker. Make one with :meth:`start`; it does one job at a time.

    Everything but the threads' own loops is touched from the event loop.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count()
        self._task: _Task | None = None
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._speaker = ThreadPoolExecutor(1, thread_name_prefix="attack-worker-speak")
        #: The models that it was last asked about, newest last: it may have them open.
        self.models: list[ModelKey] = []
        threading.Thread(target=self._listen, name=f"attack-worker-{process.pid}", daemon=True).start()

    @classmethod
    async def start(cls, settings: WorkerSettings) -> WorkerProcess:
        """Start a worker.

        Raises:
            OSError: The system has no process to give.
        """
        return cls(await asyncio.to_thread(_spawn, settings))

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether nothing is known of its end."""
        return not self._ended.done()

    async def do(self, job: Job, report: Report) -> Outcome:
        """Have a job done; ``report`` hears of its steps, on the event loop.

        Raises:
            AttackerLostError: The worker died.
        """
        if self._ended.done():
            raise _lost(self._ended.result())
        self.models = [*(each for each in self.models if each != job.model), job.model]
        self._task = _Task(next(self._numbers), self._loop.create_future(), report)
        answer = self._task.answer
        self._say(Begin(self._task.number, job))
        return await answer

    def cancel(self) -> None:
        """Ask it to stop what it is doing; :meth:`do` then returns soon, with or without a result."""
        if self._task is not None:
            self._say(Cancel(self._task.number))

    def kill(self) -> None:
        """End it at once."""
        with suppress(ProcessLookupError):
            self._process.kill()

    async def close(self) -> None:
        """End it, and wait until it has ended."""
        self.kill()
        await asyncio.shield(self._ended)

    def _say(self, message: object) -> None:
        with suppress(RuntimeError):  # it has ended, and the speaker with it
            self._speaker.submit(self._write, message)

    def _write(self, message: object) -> None:
        with suppress(OSError, ValueError):  # it has ended, which the listener tells
            write(_there(self._process.stdin), message)

    def _listen(self) -> None:
        with _there(self._process.stdout) as pipe, suppress(OSError):
            while (message := read(pipe)) is not None:
                self._call(self._take, message)
        self._process.kill()  # what has closed its stdout is of no more use
        code = self._process.wait()
        with suppress(OSError):
            _there(self._process.stdin).close()
        self._speaker.shutdown(wait=False)
        self._call(self._note_end, code)

    def _call(self, function: Callable[..., None], *arguments: object) -> None:
        with suppress(RuntimeError):  # the event loop is gone
            self._loop.call_soon_threadsafe(function, *arguments)

    def _take(self, message: Progress | Ended) -> None:
        task = self._task
        if task is None or message.number != task.number:
            return
        if isinstance(message, Progress):
            task.report(message.done, message.total)
            return
        self._task = None
        if not task.answer.done():
            task.answer.set_result(message.outcome)

    def _note_end(self, code: int) -> None:
        self._ended.set_result(code)
        task, self._task = self._task, None
        if task is not None and not task.answer.done():
            task.answer.set_exception(_lost(code))


def _spawn(settings: WorkerSettings) -> subprocess.Popen[bytes]:
    numbers = [settings.threads, settings.niceness, settings.models]
    # -P: a file in the directory that the server was started in is not taken for a module.
    command = [sys.executable, "-P", "-m", "serving.attacking.worker", *map(str, numbers)]
    threads = str(settings.threads)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
    }
    with _held_back():
        return subprocess.Popen(  # noqa: S603 - our own command, no shell
            command,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            # A group of its own: a terminal's Ctrl-C is for the server, which ends its workers itself.
            process_group=0 if sys.platform != "win32" else None,
        )


@contextmanager
def _held_back() -> Iterator[None]:
    """What this thread starts is not reached by signals before it has said what it makes of them."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, DEAF_TO)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _lost(code: int) -> AttackerLostError:
    by = "by itself"
    if code < 0:
        with suppress(ValueError):
            by = f"by {signal.Signals(-code).name}"
    return AttackerLostError(
        f"The process that carried out the attack ended {by} before it was done; another takes its place.",
        hint="Try again.",
    )


def _there(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ValueError("the process was started without its pipes")
    return pipe
