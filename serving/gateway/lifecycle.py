"""Where a gateway is in its life, and what it serves while it lives."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from typing import Literal

from holdfast.bundle import ModelStore
from holdfast.errors import HoldfastError
from holdfast.routing import read_routing
from serving.backends.base import Backend, Reload, ReloadUnsupportedError
from serving.backends.catalogue import Catalogue
from serving.gateway.default_model import default_model
from serving.gateway.problem_kinds import NOT_READY
from serving.gateway.problems import Problem, retry_after

logger = logging.getLogger(__name__)

#: starting -> ready -> draining -> stopped; starting -> failed.
State = Literal["starting", "ready", "draining", "stopped", "failed"]


class Lifecycle:
    """Starts and stops the backend, and knows whether the gateway is ready.

    The backend starts in the background, so that the server answers "alive, not ready" while it loads.

    Args:
        backend: What runs the models.
        store: Where the models lie, and how requests are shared out over their versions.
        default: The model that is named first; the most robust one if empty.
    """

    def __init__(self, backend: Backend, store: ModelStore, default: str = "") -> None:
        self.backend = backend
        self.store = store
        self._default = default
        self.state: State = "starting"
        self.error: Exception | None = None
        self._catalogue = Catalogue()
        self._reloading = asyncio.Lock()
        self._settled = asyncio.Event()
        self._starting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to load the models."""
        self._starting = asyncio.create_task(self._start())

    async def settled(self) -> None:
        """Wait until it is known whether the start succeeded; :attr:`error` is set if it did not."""
        await self._settled.wait()

    def drain(self) -> None:
        """Be ready no longer; what is asked for all the same is still answered."""
        if self.state in ("starting", "ready"):
            self.state = "draining"

    async def stop(self) -> None:
        """Close the backend: what is running finishes, what is queued is refused. A start is broken off."""
        self.state = "stopped"
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.wait([self._starting])
        await self.backend.close()

    async def ready(self) -> bool:
        """Whether a request sent now can be expected to succeed."""
        return self.state == "ready" and await self.backend.ready()

    @property
    def catalogue(self) -> Catalogue:
        """What is served.

        Raises:
            Problem: Nothing is, yet or any more.
        """
        if self.state not in ("ready", "draining") or not self._catalogue:
            raise Problem(NOT_READY, self.describe(), retry_after(1))
        return self._catalogue

    async def reload(self) -> Reload:
        """Look at the store and at its routings again.

        Raises:
            Problem: The models are not loaded yet, or no longer.
            ReloadUnsupportedError: The backend takes its models only when it starts; the routings were taken.
            HoldfastError: The store or a routing cannot be read; all stays as it was.
        """
        async with self._reloading:
            self._demand_ready()
            weights = await asyncio.to_thread(self._read_weights)
            try:
                found = await self.backend.reload()
            except ReloadUnsupportedError:
                # Which version answers is the gateway's own affair, whoever runs the models.
                self._follow(weights)
                raise
            self._follow(weights)
        return found

    async def reroute(self) -> None:
        """Read the routings again, and nothing else.

        Raises:
            Problem: The models are not loaded yet, or no longer.
            RoutingError: One cannot be read; all stays as it was.
        """
        async with self._reloading:
            self._demand_ready()
            self._follow(await asyncio.to_thread(self._read_weights))

    def _follow(self, weights: dict[str, Mapping[str, int]]) -> None:
        """Share requests out by these weights from now on, over the versions that there are."""
        self._catalogue = Catalogue(self.backend.models(), weights)

    def reload_soon(self) -> None:
        """Reload in the background, and log what goes wrong."""
        task = asyncio.create_task(self._reload_and_log())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reload_and_log(self) -> None:
        try:
            await self.reload()
        except HoldfastError as error:
            logger.error("The models were not reloaded: %s", error)  # noqa: TRY400 - it says all there is
        except Problem as problem:
            logger.warning("The models were not reloaded: %s", problem.detail)

    def _demand_ready(self) -> None:
        if self.state != "ready":
            raise Problem(NOT_READY, self.describe(), retry_after(1))

    def _read_weights(self) -> dict[str, Mapping[str, int]]:
        routings = {name: read_routing(self.store, name) for name in self.store.names()}
        return {name: routing.weights for name, routing in routings.items() if routing is not None}

    @property
    def default_model(self) -> str:
        """The model that is named first.

        Raises:
            Problem: Nothing is served, yet or any more.
        """
        catalogue = self.catalogue
        served = self._default in catalogue.names()  # a reload may have withdrawn it
        return default_model(catalogue, self._default if served else "")

    def describe(self) -> str:
        """The state, in a sentence for a caller."""
        return {
            "starting": "The models are being loaded and warmed up.",
            "ready": "The models are served.",
            "draining": "The server is shutting down.",
            "stopped": "The server is shutting down.",
            "failed": "The models could not be loaded.",
        }[self.state]

    async def _start(self) -> None:
        try:
            await self.backend.start()
            self._follow(await asyncio.to_thread(self._read_weights))
            default_model(self._catalogue, self._default)
        except Exception as error:
            self.state, self.error = "failed", error
            # What Holdfast raises on purpose says all there is to say; anything else needs its trace.
            unforeseen = not isinstance(error, HoldfastError)
            logger.error("The backend did not start: %s", error, exc_info=unforeseen)  # noqa: TRY400
        else:
            if self.state == "starting":
                self.state = "ready"
        finally:
            self._settled.set()
