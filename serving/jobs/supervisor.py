"""The workers that the gateway runs beside it: there while there are jobs, gone when it goes."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable

from serving.settings import PREFIX, Settings

logger = logging.getLogger(__name__)

#: Where a worker finds its name; see :mod:`serving.jobs.worker`, which is not to be imported here.
_IDENTITY = "_HOLDFAST_WORKER"

#: What a worker's settings are: those of the gateway, however it was given them.
_SHARED = ("model_store", "log_level", "log_format")

#: Seconds after which a worker that ended badly is replaced: longer every time, until one lives for longer.
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0

#: Seconds beyond its own time to drain after which a worker is killed.
_GRACE = 5.0

#: A process that leaves the cores to everybody else.
_NICE = 19


class Supervisor:
    """Keeps worker processes going while there are unfinished jobs.

    Args:
        settings: Of the gateway.
        wanted: Whether there are unfinished jobs.
        lost: Told of a worker that ended, by its name.
    """

    def __init__(
        self,
        settings: Settings,
        wanted: Callable[[], Awaitable[bool]],
        lost: Callable[[str], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._wanted = wanted
        self._lost = lost
        self._keepers: list[asyncio.Task[None]] = []
        self._needed = [asyncio.Event() for _ in range(settings.jobs_workers)]
        self._processes: dict[int, asyncio.subprocess.Process] = {}

    @property
    def processes(self) -> list[int]:
        """The workers that run, by process id."""
        return [process.pid for process in self._processes.values()]

    def need(self) -> None:
        """There is something to do: start the workers that are not running."""
        for number, event in enumerate(self._needed):
            event.set()
            if len(self._keepers) <= number:
                self._keepers.append(asyncio.create_task(self._keep(number)))

    async def stop(self) -> None:
        """End the workers; each finishes what it is at if that is soon, or gives it back."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    async def _keep(self, number: int) -> None:
        pause = _FIRST_PAUSE
        while True:
            await self._needed[number].wait()
            loop = asyncio.get_running_loop()
            began = loop.time()
            ended = await self._try(number)
            if ended:
                lived = loop.time() - began
                pause = _FIRST_PAUSE if lived > _LONGEST_PAUSE else min(_LONGEST_PAUSE, 2 * pause)
                logger.error("A worker for jobs %s; another begins in %.1f s", ended, pause)
                await asyncio.sleep(pause)
            # What was asked for while it ran, it has done or seen; but more may have come since.
            self._needed[number].clear()
            if await self._is_wanted():
                self._needed[number].set()

    async def _is_wanted(self) -> bool:
        try:
            return await self._wanted()
        except Exception:  # noqa: BLE001 - whatever it is, the next job asks again
            return False

    async def _try(self, number: int) -> str:
        """One worker, if there can be one; how it ended, in words, and none where all was well."""
        try:
            status = await self._run(number)
        # As many processes or threads as there may be, no memory; whatever it is, it must not end the keeper.
        except Exception as error:  # noqa: BLE001
            return f"could not be started ({error})"
        return f"ended with status {status}" if status else ""

    async def _run(self, number: int) -> int:
        """One worker, from its beginning to its end."""
        identity = f"gateway-{os.getpid()}-{number}-{os.urandom(4).hex()}"
        options = ["--with-parent", "--until-idle", str(self._settings.jobs_idle), "--nice", str(_NICE)]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "holdfast",
            "worker",
            *options,
            env=self._environment(identity),
            stdin=subprocess.PIPE,  # held open while this process lives, and by nothing else
        )
        self._processes[number] = process
        try:
            return await process.wait()
        finally:
            if process.returncode is None:
                await self._end(process)
            del self._processes[number]
            if process.returncode:
                await self._tell(identity)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        process.terminate()
        try:
            await asyncio.wait_for(process.wait(), self._settings.jobs_drain + _GRACE)
        except TimeoutError:
            process.kill()
            await process.wait()

    async def _tell(self, identity: str) -> None:
        try:
            await self._lost(identity)
        except Exception:  # noqa: BLE001 - then its lease runs out
            logger.warning("Could not note that worker %s is gone", identity)

    def _environment(self, identity: str) -> dict[str, str]:
        environment = {**os.environ, _IDENTITY: identity}
        for name in type(self._settings).model_fields:
            if name in _SHARED or name.startswith("jobs_"):
                value = getattr(self._settings, name)
                environment[PREFIX + name.upper()] = str(
                    int(value) if type(value) is not str and isinstance(value, int) else value
                )
        return environment
