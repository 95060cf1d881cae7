"""The embedded backend: every bundle of the store, run by ONNX Runtime in this process. No torch."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle import CARD, DEFENDED, Bundle, BundleNotFoundError, ManifestError, ModelStore
from holdfast.errors import HoldfastError
from holdfast.manifest import Defence, Manifest
from holdfast.sessions import open_session
from serving.backends.base import (
    InferenceError,
    Prediction,
    Refusal,
    Reload,
    UnavailableError,
    UnsupportedDefenceError,
)
from serving.backends.batching import Batcher, Outputs
from serving.backends.catalogue import Catalogue
from serving.backends.cores import count_cores
from serving.backends.load import Load

if TYPE_CHECKING:
    import onnxruntime as ort

logger = logging.getLogger(__name__)

#: What of a graph's answer is of use here.
_OUTPUTS = ("logits", "manifold", "step")

#: More threads than this on one batch cost more in waiting for one another than they bring; on a larger
#: machine several batches run at the same time instead.
_MAX_THREADS = 8


#: Seconds for which a model that is withdrawn still answers whoever had been told that it is there.
_GRACE = 60.0

#: A graph's place: model, version, defence.
_Place = tuple[str, str, Defence]


@dataclass(frozen=True, slots=True)
class _Graph:
    """One opened graph and which outputs it has. Compared and hashed by identity: it is a lane."""

    bundle: Bundle
    defence: Defence
    session: ort.InferenceSession
    outputs: list[str]

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def answers_for(self, bundle: Bundle) -> bool:
        """Whether it is what the bundle's files hold: a card that was written anew changes no model."""
        ours, theirs = self.bundle.manifest, bundle.manifest
        return (_served(ours), ours.input, ours.classes) == (_served(theirs), theirs.input, theirs.classes)


def _served(manifest: Manifest) -> dict[str, str]:
    """The hashes of the files that answers come from."""
    return {name: entry.sha256 for name, entry in manifest.files.items() if name != CARD}


class OnnxBackend:
    """Serves every bundle of a store from this process, with dynamic batching.

    Args:
        store: Where the bundles are; all of them are opened and verified by :meth:`start`.
        max_batch: The most images in one run of a model.
        max_delay: Seconds for which a busy worker may hold back a batch that is not full.
        queue: The most images that may wait.
        threads: Threads for one batch; 0 chooses them for this machine.
        on_batch: Told of every batch: model, version, defence and images; called in a worker thread.
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
        on_batch: Callable[[str, str, str, int], None] = lambda *_: None,
    ) -> None:
        cores = count_cores()
        self.threads = threads or min(cores, _MAX_THREADS)
        self.workers = max(1, cores // self.threads)
        self._store = store
        self._max_batch = max_batch
        self._catalogue = Catalogue()
        self._graphs: dict[_Place, _Graph] = {}
        self._reloading = asyncio.Lock()
        self._on_batch = on_batch
        self._queue = queue
        self._batcher: Batcher[_Graph] = Batcher(
            self._run_batch, max_batch=max_batch, max_queue=queue, max_delay=max_delay, workers=self.workers
        )
        self._state = "new"

    async def start(self) -> None:
        """Open and verify every bundle, and run each graph at the batch sizes that it will meet.

        Raises:
            HoldfastError: The store is missing, empty, or holds a bundle that cannot be served.
        """
        catalogue, graphs = await asyncio.to_thread(self._open)
        if self._state == "new":
            self._catalogue, self._graphs = catalogue, graphs
            self._batcher.start()
            self._state = "ready"

    async def reload(self) -> Reload:
        """See :meth:`serving.backends.base.Backend.reload`."""
        async with self._reloading:
            if self._state != "ready":
                raise UnavailableError("The models are not loaded yet, or no longer.")
            catalogue, graphs, found = await asyncio.to_thread(self._look_again)
            if self._state != "ready":
                return found
            leaving = {place: graph for place, graph in self._graphs.items() if place not in graphs}
            self._catalogue, self._graphs = catalogue, leaving | graphs
            if leaving:
                asyncio.get_running_loop().call_later(_GRACE, self._forget, leaving)
        logger.info(
            "Looked at the store again: %d bundle(s) opened, %d kept, %d withdrawn, %d refused",
            *(len(part) for part in (found.opened, found.kept, found.withdrawn, found.refused)),
        )
        return found

    async def close(self) -> None:
        """Refuse what is queued, wait for what is running, and give the sessions back."""
        self._state = "closed"
        await self._batcher.close()
        self._graphs.clear()

    async def ready(self) -> bool:
        """Whether every graph is open and warm."""
        return self._state == "ready"

    def load(self) -> Load:
        """See :meth:`serving.backends.load.Loaded.load`."""
        return Load(self._batcher.waiting, self._batcher.running, self._queue)

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
        # A version that was withdrawn while the request was on its way is here still, and no longer listed.
        graph = None if version is None else self._graphs.get((name, version, defence))
        if graph is None:
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

    def _run_batch(self, graph: _Graph, images: NDArray[np.float32]) -> Outputs:
        outputs = _run(graph, images)
        self._on_batch(graph.bundle.name, graph.bundle.version, graph.defence, len(images))
        return outputs

    def _forget(self, leaving: dict[_Place, _Graph]) -> None:
        """Give back graphs that were withdrawn, but for what has come back in the meantime."""
        for place, graph in leaving.items():
            if self._graphs.get(place) is graph and not self._serves(graph.bundle):
                del self._graphs[place]

    def _serves(self, bundle: Bundle) -> bool:
        return any((each.name, each.version) == (bundle.name, bundle.version) for each in self.models())

    def _open(self) -> tuple[Catalogue, dict[_Place, _Graph]]:
        """Open the whole store; what cannot be opened is an error, as nobody is served yet."""
        began = time.monotonic()
        bundles = list(self._store)
        if not bundles:
            raise self._empty()
        graphs: dict[_Place, _Graph] = {}
        for bundle in bundles:
            graphs |= self._open_graphs(bundle)
        logger.info(
            "Opened %d bundle(s) in %.2f s; %d thread(s) a batch, %d batch(es) at a time",
            len(bundles),
            time.monotonic() - began,
            self.threads,
            self.workers,
        )
        return Catalogue(bundles), graphs

    def _empty(self) -> BundleNotFoundError:
        return BundleNotFoundError(
            f"The model store {self._store.root} holds no bundle.",
            hint="Export one into it with: holdfast export",
        )

    def _look_again(self) -> tuple[Catalogue, dict[_Place, _Graph], Reload]:
        """Open what has changed in the store; what cannot be opened leaves what was there before."""
        before = {(bundle.name, bundle.version): bundle for bundle in self._catalogue.bundles}
        bundles: list[Bundle] = []
        graphs: dict[_Place, _Graph] = {}
        opened: list[str] = []
        kept: list[str] = []
        refused: list[Refusal] = []
        for name in self._store.names():
            for version in self._store.versions(name):
                former = before.pop((name, version), None)
                try:
                    bundle = self._store.open(name, version)
                    same = former is not None and self._graphs_of(bundle)
                    graphs |= same or self._open_graphs(bundle)
                    bundle.check_files()  # nobody has written to it while it was opened
                    (kept if same else opened).append(f"{name}/{version}")
                except HoldfastError as error:
                    logger.warning("%s version %s is not taken from the store: %s", name, version, error)
                    refused.append(Refusal(name, version, error))
                    if former is None:
                        continue
                    bundle = former
                    graphs |= self._graphs_at(former)
                bundles.append(bundle)
        if not bundles:
            raise self._empty()
        withdrawn = tuple(f"{name}/{version}" for name, version in before)
        return Catalogue(bundles), graphs, Reload(tuple(opened), tuple(kept), withdrawn, tuple(refused))

    def _graphs_at(self, bundle: Bundle) -> dict[_Place, _Graph]:
        """The graphs that are open in a bundle's place."""
        places = ((bundle.name, bundle.version, defence) for defence in bundle.manifest.defences)
        return {place: self._graphs[place] for place in places if place in self._graphs}

    def _graphs_of(self, bundle: Bundle) -> dict[_Place, _Graph]:
        """The graphs in a bundle's place, if they are open and the bundle's own; else none."""
        found = self._graphs_at(bundle)
        whole = len(found) == len(bundle.manifest.defences)
        return found if whole and all(graph.answers_for(bundle) for graph in found.values()) else {}

    def _open_graphs(self, bundle: Bundle) -> dict[_Place, _Graph]:
        graphs: dict[_Place, _Graph] = {}
        for defence in bundle.manifest.defences:
            if self._state == "closed":
                break
            # ONNX Runtime counts the thread that calls it as one of its own; here several call.
            threads = self.threads * self.workers - self.workers + 1
            graph = _open_graph(bundle, defence, threads=threads)
            self._warm_up(graph)
            graphs[bundle.name, bundle.version, defence] = graph
        return graphs

    def _warm_up(self, graph: _Graph) -> None:
        """Run the graph at powers of two up to the largest batch: the first run at a size is slow."""
        shape = graph.bundle.manifest.input.shape
        classes = len(graph.bundle.manifest.classes)
        sizes = {1 << bit for bit in range(self._max_batch.bit_length())} | {self._max_batch}
        for size in sorted(sizes):
            if self._state == "closed":
                return
            logits = _run(graph, np.zeros((size, *shape), dtype=np.float32))[0]
            if logits.shape != (size, classes):
                raise ManifestError(
                    f"{graph.bundle.root}: the graph answers shape {logits.shape} for {size} images where "
                    f"the manifest's classes ask for {(size, classes)}.",
                    hint="Export the bundle again with: holdfast export",
                )


def _open_graph(bundle: Bundle, defence: Defence, *, threads: int) -> _Graph:
    filename = DEFENDED[defence]
    try:
        session = open_session(bundle, filename, threads=threads)
    except HoldfastError:
        raise
    except Exception as error:  # ONNX Runtime's have no base of their own
        raise ManifestError(
            f"{bundle.path(filename)} cannot be opened by ONNX Runtime: {str(error).splitlines()[0][:300]}",
            hint="Export the bundle again with: holdfast export",
        ) from error
    expected = ["batch", *bundle.manifest.input.shape]
    given = session.get_inputs()[0]
    outputs = [output.name for output in session.get_outputs() if output.name in _OUTPUTS]
    if given.name != "images" or list(given.shape)[1:] != expected[1:] or outputs[:1] != ["logits"]:
        raise ManifestError(
            f"{bundle.path(filename)} takes {given.name} {given.shape} and answers {outputs}; the manifest "
            f"asks for images {expected} and an answer that begins with logits.",
            hint="Export the bundle again with: holdfast export",
        )
    return _Graph(bundle, defence, session, outputs)


def _run(graph: _Graph, images: NDArray[np.float32]) -> Outputs:
    """Run one batch; called in a worker thread.

    Raises:
        InferenceError: The model's answer is no finite number.
    """
    outputs: Outputs = tuple(graph.session.run(graph.outputs, {"images": np.ascontiguousarray(images)}))
    if not all(np.isfinite(output).all() for output in outputs):
        raise InferenceError("The model answered what is no finite number.")
    return outputs
