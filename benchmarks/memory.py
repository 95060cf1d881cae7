"""Whether the gateway's memory stays flat, over a hundred thousand requests of every kind.

    python benchmarks/memory.py

Sixteen callers send a fixed mixture: one image, several as a form or in JSON, other formats and sizes,
requests that must be refused (no image, a truncated one, a bomb, an unknown model, path or parameter, each
with names never seen before), callers that hang up, and looks at health and metrics. Every status is
checked. Meanwhile the memory of the gateway's processes (RSS) is sampled after every 200th part of the
requests.

The first fifth fills caches and the allocator's pools and is left out. Over the rest the growth is the
Theil-Sen slope, with the 95 % interval of Sen (1968). Memory is called flat where the interval's upper end,
over a hundred thousand requests, is under the bound, and no sample is further than the bound above the
median. Where it is not, the exit status is 1.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from classified import find_bundle, find_images
from machine import describe_machine
from memory_load import MIXTURE, mixture, send
from memory_report import growth, growth_sheet, kind_sheet
from report import Report, command_line, deliver, find_place, run
from servers import gateway

from holdfast.console import progress, stderr

_LIBRARIES = ("holdfast", "onnxruntime", "numpy", "pillow", "fastapi", "uvicorn")


def main(
    store: Annotated[Path, typer.Option(help="The model store.")] = Path("model_store"),
    model: Annotated[
        str | None, typer.Option(help="NAME or NAME/VERSION. [default: the most robust]")
    ] = None,
    images: Annotated[Path, typer.Option(help="Directory of PNG, JPEG or WebP files.")] = Path(
        "examples/images"
    ),
    requests: Annotated[int, typer.Option(min=200, help="How many to send.")] = 100_000,
    callers: Annotated[int, typer.Option(min=1, max=256, help="How many send at the same time.")] = 16,
    seed: Annotated[int, typer.Option(help="Of the order.")] = 0,
    bound: Annotated[
        float, typer.Option(min=0, help="MiB: growth per 100,000 requests that still counts as flat.")
    ] = 8.0,
    json_path: Annotated[Path | None, typer.Option("--json", help="File for every sample.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    update: Annotated[
        Path | None, typer.Option(help="Document to write the figures into, between this benchmark's marks.")
    ] = None,
) -> None:
    """Measure the gateway's memory over many requests of every kind."""
    if update is not None:
        find_place(update, "memory")
    bundle = find_bundle(store, model)
    kinds = mixture(bundle, [file.read_bytes() for file in find_images(images)])
    machine = describe_machine(*_LIBRARIES)
    with (
        tempfile.TemporaryDirectory(prefix="holdfast-bench-") as directory,
        gateway(store, Path(directory)) as server,
        progress("Sending", requests, unit="requests") as shown,
    ):
        done = send(
            server, kinds, requests=requests, callers=callers, seed=seed, advance=lambda: shown.advance()
        )
    found = growth(done.samples, bound * 2**20)
    facts = [
        f"Machine: {machine.describe()}.",
        f"With {machine.describe_versions()}.",
        f"Model: {bundle.name} version {bundle.version}; {requests:,} requests by {callers} callers, "
        f"seed {seed}, {machine.date}.",
        f"Flat, at a bound of {bound:g} MiB per 100,000 requests: {'yes' if found.flat else 'NO'}.",
        f"Command: `{command_line()}`",
    ]
    content: dict[str, Any] = {
        "command": command_line(),
        "machine": machine.as_json(),
        "model": f"{bundle.name}/{bundle.version}",
        "requests": requests,
        "callers": callers,
        "seed": seed,
        "mixture": MIXTURE,
        "answers": done.answers,
        "growth": found.as_json(),
        "samples": [sample._asdict() for sample in done.samples],
    }
    report = Report("memory", facts, [growth_sheet(found, done.samples), kind_sheet(done.answers)], content)
    deliver(report, markdown=markdown, json_path=json_path, document=update)
    if not found.flat:
        stderr.print("The gateway's memory is not flat.")
        sys.exit(1)


if __name__ == "__main__":
    run(main)
