"""The embedded backend: every bundle of the store, run by ONNX Runtime in this process. No torch."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle import DEFENDED, Bundle, BundleNotFoundError, ManifestError, ModelStore
from holdfast.manifest import Defence
from holdfast.sessions import open_session
from serving.backends.base import InferenceError, Prediction, UnavailableError, UnsupportedDefenceError
from serving.backends.batching import Batcher, Outputs
from serving.backends.catalogue import Catalogue
from serving.backends.cores import count_cores

if TYPE_CHECKING:
    import onnxruntime as ort

logger = logging.getLogger(__name__)

#: What of a graph's answer is of use here.
_OUTPUTS = ("logits", "manifold", "step")

#: More threads than this on one batch cost more in waiting for one another than they bring; on a larger
#: machine several batches run at the same time instead.
_MAX_THREADS = 8


@dataclass(frozen=True, slots=True)
class _Graph:
    """One opened graph and which outputs it has. Compared and hashed by identity: it is a lane."""

    bundle: Bundle
    session: ort.InferenceSession
    outputs: list[str]

    __eq__ = object.__eq__
    __hash__ = object.__hash__


class OnnxBackend:
    """Serves every bundle of a store from this process, with dynamic batching.

    Args:
        store: Where the bundles are; all of them are opened and verified by :meth:`start`.
        max_batch: The most images in one run of a model.
        max_delay: Seconds for which a busy worker may hold back a batch that is not full.
        queue: The most images that may wait.
        threads: Threads for one batch; 0 chooses them for this machine.
    """

    name = "onnxruntime"

    def __init__(
        self,
        store: ModelStore,
        *,
        max_batch: int = 16,
        max_delay: float = 0.0,
        queue: int = 256,
        threads: int = 0,
    ) -> None:
        cores = count_cores()
        self.threads = threads or min(cores, _MAX_THREADS)
        self.workers = max(1, cores // self.threads)
        self._store = store
        self._max_batch = max_batch
        self._catalogue = Catalogue()
        self._graphs: dict[tuple[str, str, Defence], _Graph] = {}
        self._batcher: Batcher[_Graph] = Batcher(
            _run, max_batch=max_batch, max_queue=queue, max_delay=max_delay, workers=self.workers
        )
        self._state = "new"

    async def start(self) -> None:
        """Open and verify every bundle, and run each graph at the batch sizes that it will meet.

        Raises:
            HoldfastError: The store is missing, empty, or holds a bundle that cannot be served.
        """
        await asyncio.to_thread(self._open)
        if self._state == "new":
            self._batcher.start()
            self._state = "ready"

    async def close(self) -> None:
        """Refuse what is queued, wait for what is running, and give the sessions back."""
        self._state = "closed"
        await self._batcher.close()
        self._graphs.clear()

    async def ready(self) -> bool:
        """Whether every graph is open and warm."""
        return self._state == "ready"

    def models(self) -> Sequence[Bundle]:
        """The bundles that are served, by name, oldest version first."""
        return self._catalogue.bundles

    async def predict(
        self,
        name: str,
        version: str | None,
        images: NDArray[np.float32],
        *,
        defence: Defence = "none",
        deadline: float | None = None,
    ) -> Prediction:
        """See :meth:`serving.backends.base.Backend.predict`."""
        if self._state != "ready":
            raise UnavailableError("The models are not loaded yet, or no longer.")
        bundle = self._catalogue.find(name, version)
        graph = self._graphs.get((bundle.name, bundle.version, defence))
        if graph is None:
            raise UnsupportedDefenceError(
                f"Model '{bundle.name}' version {bundle.version} does not offer the defence '{defence}'.",
                hint=f"It offers: {', '.join(bundle.manifest.defences)}.",
            )
        answer = await self._batcher.submit(graph, images, deadline=deadline)
        found = dict(zip(graph.outputs, answer.outputs, strict=True))
        return Prediction(found["logits"], found.get("manifold"), answer.timings, found.get("step"))

    def _open(self) -> None:
        began = time.monotonic()
        bundles = list(self._store)
        if not bundles:
            raise BundleNotFoundError(
                f"The model store {self._store.root} holds no bundle.",
                hint="Export one into it with: holdfast export",
            )
        for bundle in bundles:
            for defence in bundle.manifest.defences:
                if self._state != "new":  # closed in the meantime
                    return
                # ONNX Runtime counts the thread that calls it as one of its own; here several call.
                threads = self.threads * self.workers - self.workers + 1
                graph = _open_graph(bundle, DEFENDED[defence], threads=threads)
                self._warm_up(graph)
                self._graphs[bundle.name, bundle.version, defence] = graph
        self._catalogue = Catalogue(bundles)
        logger.info(
            "Opened %d bundle(s) in %.2f s; %d thread(s) a batch, %d batch(es) at a time",
            len(bundles),
            time.monotonic() - began,
            self.threads,
            self.workers,
        )

    def _warm_up(self, graph: _Graph) -> None:
        """Run the graph at powers of two up to the largest batch: the first run at a size is slow."""
        shape = graph.bundle.manifest.input.shape
        classes = len(graph.bundle.manifest.classes)
        sizes = {1 << bit for bit in range(self._max_batch.bit_length())} | {self._max_batch}
        for size in sorted(sizes):
            if self._state != "new":
                return
            logits = _run(graph, np.zeros((size, *shape), dtype=np.float32))[0]
            if logits.shape != (size, classes):
                raise ManifestError(
                    f"{graph.bundle.root}: the graph answers shape {logits.shape} for {size} images where "
                    f"the manifest's classes ask for {(size, classes)}.",
                    hint="Export the bundle again with: holdfast export",
                )


def _open_graph(bundle: Bundle, filename: str, *, threads: int) -> _Graph:
    session = open_session(bundle, filename, threads=threads)
    expected = ["batch", *bundle.manifest.input.shape]
    given = session.get_inputs()[0]
    outputs = [output.name for output in session.get_outputs() if output.name in _OUTPUTS]
    if given.name != "images" or list(given.shape)[1:] != expected[1:] or outputs[:1] != ["logits"]:
        raise ManifestError(
            f"{bundle.path(filename)} takes {given.name} {given.shape} and answers {outputs}; the manifest "
            f"asks for images {expected} and an answer that begins with logits.",
            hint="Export the bundle again with: holdfast export",
        )
    return _Graph(bundle, session, outputs)


def _run(graph: _Graph, images: NDArray[np.float32]) -> Outputs:
    """Run one batch; called in a worker thread.

    Raises:
        InferenceError: The model's answer is no finite number.
    """
    outputs: Outputs = tuple(graph.session.run(graph.outputs, {"images": np.ascontiguousarray(images)}))
    if not all(np.isfinite(output).all() for output in outputs):
        raise InferenceError("The model answered what is no finite number.")
    return outputs
