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

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from bare_loop import BareLoop
from classified import Images, describe_model, expect, find_bundle, find_images, session_threads, temperature
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
from machine import Company, describe_company, describe_machine
from measuring import check_class, measure_loop, measure_server
from paired import alternate
from report import Report, command_line, deliver, run
from servers import GATEWAY, TORCHSERVE, Server, environment, gateway, pack, torchserve

from holdfast.bundle import Bundle
from holdfast.console import progress
from serving.settings import PREFIX, Settings

_LIBRARIES = ("holdfast", "onnxruntime", "numpy", "pillow", "fastapi", "uvicorn", "torch", "torchserve")

#: Settings of the gateway that the benchmark gives it.
_DECIDED_HERE = ("host", "port", "model_store", "backend", "torchserve_url")


def main(
    store: Annotated[Path, typer.Option(help="The model store.")] = Path("model_store"),
    model: Annotated[
        str | None, typer.Option(help="NAME or NAME/VERSION. [default: the most robust]")
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
        known = expect(files, loop.logits(), temperature(bundle))
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
            sides[Side(server.name, level)] = partial(
                measure_server, server, requests, check_class(server.name, images), level
            )
            if server.name == GATEWAY:  # between the two servers, next to what it is compared with
                sides[Side(BARE, level)] = partial(measure_loop, loop, "decode+run", images)
    sides[Side(SESSION, 1)] = partial(measure_loop, loop, "run", images)
    return sides


def describe_settings(archive_options: str) -> str:
    """What is set otherwise than it comes."""
    given = {PREFIX + name.upper() for name in Settings.model_fields if name not in _DECIDED_HERE}
    changed = [f"{name}={os.environ[name]}" for name in sorted(given) if os.environ.get(name)]
    changed += [f"holdfast archive {archive_options}"] if archive_options else []
    return ", ".join(changed) or "the gateway's and TorchServe's own defaults"


if __name__ == "__main__":
    run(main)
