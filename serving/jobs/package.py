"""A job's result as one zip file, made while it is sent."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator

from typing_extensions import Buffer

from serving.jobs.figures import accuracy_bars, success_curves
from serving.jobs.result_tables import images_csv, markdown, runs_csv
from serving.jobs.results import ResultReader
from serving.jobs.views import JobResult

#: Bytes that are sent at a time, at least.
_PIECE = 256 * 1024


class _Sink(io.RawIOBase):
    """What a zip file is written to: it keeps what has not been sent yet."""

    def __init__(self) -> None:
        super().__init__()
        self._held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, content: Buffer) -> int:
        before = len(self._held)
        self._held += memoryview(content)
        return len(self._held) - before

    def __len__(self) -> int:
        return len(self._held)

    def take(self) -> bytes:
        content = bytes(self._held)
        self._held.clear()
        return content


def package(result: JobResult, reader: ResultReader) -> Iterator[bytes]:
    """The zip file, piece by piece.

    Args:
        result: All of it; its tables and pictures come first.
        reader: Where the adversarial images are read from, a chunk at a time.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("result.json", result.model_dump_json(indent=1))
        packed.writestr("runs.csv", runs_csv(result))
        packed.writestr("images.csv", images_csv(result))
        packed.writestr("result.md", markdown(result))
        packed.writestr("figures/accuracy.svg", accuracy_bars(result))
        if (curves := success_curves(result)) is not None:
            packed.writestr("figures/success.svg", curves)
        yield sink.take()
        for run, files in reader.pictures(result.job):
            folder = f"{run.model}-{run.version}/{run.defence}/{run.name}"
            for name, content in files:
                kind = "float" if name.endswith(".npy") else "adversarial"
                packed.writestr(f"{kind}/{folder}/{name}", content, zipfile.ZIP_STORED)
                if len(sink) >= _PIECE:
                    yield sink.take()
    yield sink.take()
