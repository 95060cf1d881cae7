"""Measure: in this process, or shared out over several, each of which may have a GPU of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any

import numpy as np

from holdfast.bundle import WEIGHTS, Bundle
from holdfast.version import __version__
from training import data as datasets
from training.data import Split
from training.data.draws import Stream, permutation
from training.evaluation.ledger import Entry, Ledger
from training.evaluation.measurement import Bench, Measurement, find_source
from training.evaluation.outcome import Outcome


@dataclass(frozen=True)
class Images:
    """The test images of a data set: what a process needs to know to load them itself.

    Attributes:
        dataset: Its name.
        root: Where the data sets lie; None for the default.
        options: Of the data set.
        count: Only the first; None for all. Of images that come class after class, as many drawn at random,
            the same ones each time.
    """

    dataset: str
    root: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)
    count: int | None = None

    def load(self) -> Loaded:
        """Read them."""
        dataset = datasets.load(self.dataset, self.root, **self.options)
        split, digest = dataset.test.only_exact(), dataset.digest
        whole, which = len(split), "first"
        if (
            np.diff(split.labels) >= 0
        ).all():  # class after class, as folders are: the first are of one class
            split = split.take(permutation(whole, seed=0, stream=Stream.MEASURED))
            digest, which = f"{digest}-drawn", "drawn"
        if self.count is not None:
            split = split.take(slice(0, self.count))
        part = f"{which} {len(split):,} of {whole:,}" if len(split) < whole else f"all {whole:,}"
        words = f"{dataset.name}, {part} test images, digest {dataset.digest}"
        return Loaded(split, digest, words, dataset.classes)


@dataclass(frozen=True)
class Loaded:
    """Images in memory.

    Attributes:
        split: The images.
        digest: Of the data set that they are test images of, and of their order where it is another.
        words: What they are, for a reader.
        classes: What the data set calls its classes.
    """

    split: Split
    digest: str
    words: str
    classes: tuple[str, ...] = ()


#: Called with a measurement, and how many of its images are done: fractions while a batch is under way.
Progress = Callable[[Measurement, float], None]


def _unwatched(what: Measurement, images: float) -> None:
    del what, images


@dataclass(frozen=True)
class Runner:
    """Measures what is not in the ledgers yet.

    Attributes:
        images: To measure on.
        store: Where the sources of transfer attacks are looked up.
        ledgers: Where outcomes are kept.
        batch_size: Images attacked at a time, and lost where a run is killed.
        processes: 1 measures in this process; None has one for each of the devices.
        threads: CPU threads of each process; 0 for all cores.
        devices: CUDA devices, shared out over the processes; empty for what a process finds by itself.
        again: Measure anew what is known.
    """

    images: Images
    store: Path
    ledgers: Path
    batch_size: int = 100
    processes: int | None = None
    threads: int = 0
    devices: tuple[str, ...] = ()
    again: bool = False

    def run(
        self,
        measurements: Sequence[Measurement],
        progress: Progress = _unwatched,
        loaded: Loaded | None = None,
        bench: Bench | None = None,
    ) -> list[Outcome]:
        """Measure, and give the outcomes in order.

        Args:
            measurements: Each at most once.
            progress: See :data:`Progress`; what is known already is told at once.
            loaded: The images, where they are in memory already.
            bench: To measure with in this process.
        """
        loaded = loaded or self.images.load()
        split = loaded.split
        ledgers = {what: self.ledger(what, loaded.digest) for what in measurements}
        tasks = []
        for what, ledger in ledgers.items():
            if self.again:
                ledger.forget()
            missing = ledger.missing(len(split), self.batch_size)
            progress(what, len(split) - sum(stop - start for start, stop in missing))
            tasks += [(what, start, stop) for start, stop in missing]
        if not self.devices and (self._workers == 1 or len(tasks) < 2):
            bench = bench or Bench(self.store, self.threads)
            for what, start, stop in tasks:
                tell = _within(progress, what, stop - start)
                measured = bench.measure(what, split.take(slice(start, stop)), tell)
                tell(1.0)
                ledgers[what].put(Entry(start, stop, measured))
        else:
            for what, start, stop, measured in self._shared(tasks):
                ledgers[what].put(Entry(start, stop, measured))
                progress(what, stop - start)
        return [ledgers[what].outcome(len(split)) for what in measurements]

    @property
    def _workers(self) -> int:
        return self.processes or max(1, len(self.devices))

    def ledger(self, what: Measurement, digest: str) -> Ledger:
        """The ledger of a measurement on the images of that digest."""
        judged = Bundle.open(what.bundle, verify=False)
        line = what.line
        subject: dict[str, Any] = {
            "bundle": judged.manifest.files[WEIGHTS].sha256,
            "name": f"{judged.name}/{judged.version}",
            "images": digest,
            "defence": what.defence,
            "attack": line.name.split(",")[0] if line.parameters is None else type(line.parameters).__name__,
            "parameters": None if line.parameters is None else line.parameters.model_dump(mode="json"),
            "through": line.through,
            "version": __version__,
        }
        if line.source is not None:
            root, defence = find_source(what, self.store)
            subject["source"] = [Bundle.open(root, verify=False).manifest.files[WEIGHTS].sha256, defence]
        return Ledger(self.ledgers / f"{judged.name}-{judged.version}", subject)

    def _shared(
        self, tasks: Sequence[tuple[Measurement, int, int]]
    ) -> Iterator[tuple[Measurement, int, int, Outcome]]:
        context = multiprocessing.get_context("spawn")
        devices: Queue[str] = context.Queue()
        for index in range(self._workers):
            devices.put(self.devices[index % len(self.devices)] if self.devices else "")
        pool = ProcessPoolExecutor(
            min(self._workers, max(1, len(tasks))),
            mp_context=context,
            initializer=_start,
            initargs=(self.images, self.store, self.threads, devices),
        )
        with _ended(pool):
            futures: dict[Future[Outcome], tuple[Measurement, int, int]] = {
                pool.submit(_measure, *task): task for task in tasks
            }
            for future in as_completed(futures):
                yield *futures[future], future.result()


def _within(progress: Progress, what: Measurement, images: int) -> Callable[[float], None]:
    """Tells of a batch's share as images more."""
    told = 0.0

    def tell(share: float) -> None:
        nonlocal told
        progress(what, images * (share - told))
        told = share

    return tell


@contextmanager
def _ended(pool: ProcessPoolExecutor) -> Iterator[None]:
    """At the first mistake or interrupt nothing more is begun, and nothing waited for."""
    try:
        yield
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_bench: Bench
_split: Split


def _start(images: Images, store: Path, threads: int, devices: Queue[str]) -> None:
    """Make a process ready to measure."""
    global _bench, _split
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends this process
    device = devices.get()
    if device:
        os.environ["CUDA_VISIBLE_DEVICES"] = device
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _bench, _split = Bench(store, threads), images.load().split


def _end_with(parent: Any) -> None:
    """A parent that is killed cannot end its children."""
    parent.join()
    os._exit(1)


def _measure(what: Measurement, start: int, stop: int) -> Outcome:
    return _bench.measure(what, _split.take(slice(start, stop)))
