"""The gateway against a bare loop over its ONNX session, and against TorchServe with the same model.

    python benchmarks/gateway.py --store model_store --seconds 3 --rounds 9

Three sides, each in processes of its own and all of them up for the whole run, take turns under a closed loop
of 1 and of 16 callers that send the bytes of real image files:

* the gateway: ``holdfast serve`` with its embedded backend;
* the bare loop: decode the same bytes, run the same session at batch 1, one after the other; and, at the end
  of each round, the session alone;
* TorchServe: ``holdfast torchserve``, asked directly, with the batching that ``holdfast archive`` gives it.

Every answer is compared with what the session says for the image.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from bare_loop import BareLoop
from gateway_report import (
    BARE,
    SESSION,
    Figures,
    Side,
    compare,
    figure_sheet,
    ratio_sheet,
    rounds_as_json,
)
from http_load import LoadError, drive, post
from machine import Company, describe_company, describe_machine
from paired import alternate
from report import Report, command_line, deliver, run
from servers import GATEWAY, TORCHSERVE, Server, environment, gateway, pack, torchserve

from holdfast.bundle import Bundle, ModelStore
from holdfast.console import format_size, progress
from holdfast.errors import UsageError
from serving.backends.onnx import OnnxBackend
from serving.settings import PREFIX, Settings, load_settings

_MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}
_LIBRARIES = ("holdfast", "onnxruntime", "numpy", "pillow", "fastapi", "uvicorn", "torch", "torchserve")

#: Settings of the gateway that the benchmark gives it.
_DECIDED_HERE = ("host", "port", "model_store", "backend", "torchserve_url")

#: Two classes nearer than this may change places with the batch's size, and then no answer is the right one.
_TIE = 1e-3


@dataclass(frozen=True)
class Images:
    """The image files that are classified, and the class that the session gives each."""

    files: Sequence[Path]
    contents: Sequence[bytes]
    expected: Sequence[int]

    def requests(self, path: str, host: str) -> list[bytes]:
        """A request for each image."""
        return [
            post(path, content, _MEDIA_TYPES[file.suffix.lower()], host)
            for file, content in zip(self.files, self.contents, strict=True)
        ]

    def describe(self) -> str:
        """How many and how large."""
        sizes = [len(content) for content in self.contents]
        return f"{len(sizes)} image files of {format_size(min(sizes))} to {format_size(max(sizes))}"


def main(
    store: Annotated[Path, typer.Option(help="The model store.")] = Path("model_store"),
    model: Annotated[
        str | None, typer.Option(help="NAME or NAME/VERSION. [default: the store's only model]")
    ] = None,
    images: Annotated[Path, typer.Option(help="Directory of PNG, JPEG or WebP files.")] = Path(
        "examples/images"
    ),
    seconds: Annotated[float, typer.Option(min=0.05, help="Seconds of each measurement.")] = 3.0,
    rounds: Annotated[int, typer.Option(min=1, help="Measurements of each side.")] = 9,
    callers: Annotated[
        list[int] | None, typer.Option(min=1, help="How many; may be repeated. [default: 1, 16]")
    ] = None,
    with_torchserve: Annotated[
        bool, typer.Option("--torchserve/--no-torchserve", help="Whether to measure TorchServe.")
    ] = True,
    archive_options: Annotated[
        str, typer.Option(help="For 'holdfast archive', e.g. '--workers 2 --batch-delay 1'.")
    ] = "",
    json_path: Annotated[Path | None, typer.Option("--json", help="File for every value.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    update: Annotated[
        Path | None, typer.Option(help="Document to write the figures into, between this benchmark's marks.")
    ] = None,
) -> None:
    """Measure the gateway against a bare loop over its ONNX session, and against TorchServe."""
    bundle = find_bundle(store, model)
    files = find_images(images)
    machine = describe_machine(*_LIBRARIES)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-bench-")))
        threads = session_threads(bundle)
        loop = stack.enter_context(BareLoop(bundle.root, files, threads, environment()))
        known = expect(files, loop.logits())
        servers = [stack.enter_context(gateway(store, directory))]
        if with_torchserve:
            pack(bundle.root, directory, archive_options.split())
            servers.append(stack.enter_context(torchserve(directory, bundle.name, directory)))
        sides = make_sides(bundle, known, loop, servers, sorted(set(callers or (1, 16))))
        with progress("Measuring", len(sides) * (rounds + 1), unit="measurements") as shown:
            for measure in sides.values():  # once for nothing: Java and TorchScript get faster as they run
                measure(seconds)
                shown.advance()
            company = Company()
            measured: dict[Side, list[Figures]] = {side: [] for side in sides}
            turns = {side: partial(measure, seconds) for side, measure in sides.items()}
            for side, figures in alternate(turns, rounds):
                measured[side].append(figures)
                shown.advance(note=f"{side.name}: {figures.rate:.0f} images/s")
            others = company.cores()
    comparisons = compare(measured)
    facts = [
        f"Machine: {machine.describe()}; other processes used {others:.2f} cores meanwhile.",
        f"With {machine.describe_versions()}.",
        f"Model: {bundle.name} version {bundle.version}, {describe_model(bundle)}; {known.describe()}.",
        f"{rounds} rounds of {seconds:g} s for each side, {machine.date}; {threads} threads in the session.",
        f"Settings: {describe_settings(archive_options)}.",
        f"Command: `{command_line()}`",
    ]
    content: dict[str, Any] = {
        "command": command_line(),
        "machine": machine.as_json(),
        "company": describe_company(others),
        "model": f"{bundle.name}/{bundle.version}",
        "session_threads": threads,
        "images": len(known.files),
        "seconds": seconds,
        "archive_options": archive_options,
        "comparisons": [comparison.as_json() for comparison in comparisons],
        "measurements": rounds_as_json(measured),
    }
    report = Report("gateway", facts, [ratio_sheet(comparisons, rounds), figure_sheet(measured)], content)
    deliver(report, markdown=markdown, json_path=json_path, document=update)


Measure = Callable[[float], Figures]


def make_sides(
    bundle: Bundle, images: Images, loop: BareLoop, servers: Sequence[Server], callers: Sequence[int]
) -> dict[Side, Measure]:
    """What is measured in a round, in the order of it; each takes the seconds to measure for."""
    paths = {
        GATEWAY: f"/v1/models/{bundle.name}/versions/{bundle.version}/classify",
        TORCHSERVE: f"/predictions/{bundle.name}/{bundle.version}",
    }
    sides: dict[Side, Measure] = {}
    for level in callers:
        for server in servers:
            requests = images.requests(paths[server.name], server.host)
            sides[Side(server.name, level)] = partial(measure_server, server, requests, images, level)
            if server.name == GATEWAY:  # between the two servers, next to what it is compared with
                sides[Side(BARE, level)] = partial(measure_loop, loop, "decode+run", images)
    sides[Side(SESSION, 1)] = partial(measure_loop, loop, "run", images)
    return sides


def measure_server(
    server: Server, requests: Sequence[bytes], images: Images, callers: int, seconds: float
) -> Figures:
    """Put a server under load, and check its answers when the time is over.

    Raises:
        LoadError: An answer is not 200, or names another class than the session does.
    """
    cpu = server.cpu_seconds()
    done = drive(server.address, requests, concurrency=callers, seconds=seconds)
    cpu = server.cpu_seconds() - cpu
    for number, body in done.answers:
        if (found := read_class(body)) != images.expected[number]:
            raise LoadError(
                f"{server.name} says class {found} for {images.files[number]} where the session says "
                f"{images.expected[number]}."
            )
    return Figures(
        rate=done.rate,
        p50=done.percentile(50),
        p99=done.percentile(99),
        cpu=cpu / len(done.answers),
        images=len(done.answers),
        generator_cores=done.generator_cores,
    )


def measure_loop(loop: BareLoop, what: str, images: Images, seconds: float) -> Figures:
    """Let the bare loop go round, and check its answers.

    Raises:
        LoadError: It did not answer the same every time.
    """
    done = loop.measure(what, seconds)
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
    )


def read_class(body: bytes) -> int:
    """The class in an answer of the gateway or of TorchServe's handler."""
    answer = json.loads(body)
    return int(answer["predictions"][0]["class_index"] if "predictions" in answer else answer["class_index"])


def find_bundle(store: Path, model: str | None) -> Bundle:
    """The bundle to measure; TorchServe and the gateway are to serve the very same.

    Raises:
        UsageError: None is named and the store has several.
        BundleError: There is none, or it is damaged.
    """
    models = ModelStore(store)
    if model is None:
        names = models.names()
        if len(names) != 1:
            raise UsageError(
                f"{store} has the models {', '.join(names) or 'none'}.", hint="Name one: --model"
            )
        model = names[0]
    name, _, version = model.partition("/")
    return models.open(name, version or None)


def find_images(directory: Path) -> list[Path]:
    """The image files of a directory, sorted.

    Raises:
        UsageError: There is none.
    """
    found = directory.iterdir() if directory.is_dir() else ()
    files = sorted(file for file in found if file.suffix.lower() in _MEDIA_TYPES)
    if not files:
        raise UsageError(f"There are no image files in {directory}.", hint="Name a directory: --images")
    return files


def expect(files: Sequence[Path], logits: Sequence[Sequence[float]]) -> Images:
    """The images with the class that the session gives each.

    Raises:
        UsageError: An image has no such class: its two best are as good as equal.
    """
    expected = []
    for file, values in zip(files, logits, strict=True):
        second, first = np.sort(values)[-2:]
        if first - second < _TIE:
            raise UsageError(f"The model cannot decide on {file}: take that image away.")
        expected.append(int(np.argmax(values)))
    return Images(files, [file.read_bytes() for file in files], expected)


def session_threads(bundle: Bundle) -> int:
    """Threads of the session that the gateway opens here."""
    backend = OnnxBackend(ModelStore(bundle.root.parent.parent), threads=load_settings().threads)
    return backend.threads * backend.workers


def describe_model(bundle: Bundle) -> str:
    """Its architecture and input."""
    shape = "x".join(map(str, bundle.manifest.input.shape))
    return f"{bundle.manifest.architecture.name} on {shape}"


def describe_settings(archive_options: str) -> str:
    """What is set otherwise than it comes."""
    given = {PREFIX + name.upper() for name in Settings.model_fields if name not in _DECIDED_HERE}
    changed = [f"{name}={os.environ[name]}" for name in sorted(given) if os.environ.get(name)]
    changed += [f"holdfast archive {archive_options}"] if archive_options else []
    return ", ".join(changed) or "the gateway's and TorchServe's own defaults"


if __name__ == "__main__":
    run(main)
