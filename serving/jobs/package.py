"""A job's result as one zip file, made while it is sent."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Iterable, Iterator

from typing_extensions import Buffer

from serving.jobs.figures import accuracy_bars, success_curves
from serving.jobs.result_json import result_json
from serving.jobs.result_tables import images_csv, markdown, runs_csv
from serving.jobs.results import Reading, ResultReader

#: Bytes that are sent at a time, at least.
_PIECE = 256 * 1024

#: Results of images beyond which a file of them may have more than the 2 GiB that a zip file holds by its old
#: form, which every program reads.
_MANY = 250_000


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


def package(reading: Reading, reader: ResultReader) -> Iterator[bytes]:
    """The zip file, piece by piece.

    Args:
        reading: The result; its tables and pictures come first.
        reader: Where what came of the images, and they themselves, are read from, a chunk at a time.

    Raises:
        UnknownJobError: The job has been deleted meanwhile.
    """
    sink, result = _Sink(), reading.result
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as packed:
        yield from _file(packed, sink, "result.json", reading, result_json(reading, reader))
        packed.writestr("runs.csv", runs_csv(result))
        lines = (each.encode() for each in images_csv(reading, reader))
        yield from _file(packed, sink, "images.csv", reading, lines)
        packed.writestr("result.md", markdown(result))
        packed.writestr("figures/accuracy.svg", accuracy_bars(result))
        if (curves := success_curves(reading)) is not None:
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


def _file(
    packed: zipfile.ZipFile, sink: _Sink, name: str, reading: Reading, pieces: Iterable[bytes]
) -> Iterator[bytes]:
    """Write a file of which nobody knows how large it will be; what of the zip file can be sent meanwhile."""
    entry = zipfile.ZipInfo(name, time.localtime()[:6])
    entry.compress_type = zipfile.ZIP_DEFLATED
    large = sum(run.images_done for run in reading.result.runs) > _MANY
    with packed.open(entry, "w", force_zip64=large) as file:
        for piece in pieces:
            file.write(piece)
            if len(sink) >= _PIECE:
                yield sink.take()
