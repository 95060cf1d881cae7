"""gradient.onnx against predict.onnx: what one forward and one backward pass cost over one forward pass.

    python benchmarks/gradient_graph.py wrn-16-4 --threads 2

An attack on a bundle runs gradient.onnx once a step. Its arithmetic is that of two forward passes, so the
ratio to predict.onnx would be 2 if nothing but arithmetic cost time. The weights are drawn: no time depends
on them. Both sides take turns on the same images.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime as ort
import torch
import typer
from machine import Company, describe_company, describe_machine
from paired import Spread, alternate, paired_ratio
from report import Report, Sheet, command_line, deliver, run

from holdfast.attacks.loss import Loss
from holdfast.bundle import GRADIENT, PREDICT, WEIGHTS
from holdfast.console import progress
from training.export.graphs import gradient_graph, predict_graph
from training.export.weights import write_graph, write_weights
from training.models import build

_LIBRARIES = ("holdfast", "torch", "onnx", "onnxruntime", "numpy")
_CLASSES = 10
#: Each measurement repeats its graph for about this long.
_SECONDS = 0.05


def main(
    architecture: Annotated[str, typer.Argument(help="A network of training.models.")] = "wrn-16-4",
    batches: Annotated[list[int] | None, typer.Option("--batch", min=1, help="Default: 1, 8 and 32.")] = None,
    size: Annotated[int, typer.Option(min=1, help="Height and width of the images.")] = 32,
    channels: Annotated[int, typer.Option(min=1, max=3, help="Channels of the images: 1 or 3.")] = 3,
    loss: Annotated[str, typer.Option(help="The loss that is differentiated.")] = "ce",
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0 leaves them to ONNX Runtime.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Measurements of each side.")] = 25,
    json_path: Annotated[Path | None, typer.Option("--json", help="File for every value.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    update: Annotated[
        Path | None, typer.Option(help="Document to write the figures into, between this benchmark's marks.")
    ] = None,
) -> None:
    """Measure a gradient on ONNX Runtime against a prediction."""
    machine = describe_machine(*_LIBRARIES)
    shape = (channels, size, size)
    chosen = Loss.from_label(loss)
    lengths = batches or [1, 8, 32]
    measured: dict[int, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as directory:
        sessions = open_graphs(architecture, shape, threads, Path(directory))
        company = Company()
        with progress("Measuring", len(lengths) * rounds * 2, unit="measurements") as shown:
            for batch in lengths:
                sides = make_sides(sessions, batch, shape, chosen)
                measured[batch] = {side: [] for side in sides}
                for side, seconds in alternate(sides, rounds):
                    measured[batch][side].append(seconds)
                    shown.advance()
        others = company.cores()
    sheet = Sheet(
        "A gradient over a prediction",
        (">batch", f">{PREDICT}, ms", f">{GRADIENT}, ms", ">ratio"),
        f"Medians of {rounds} rounds, with the quartiles.",
    )
    for batch, sides_seconds in measured.items():
        below, above = sides_seconds[PREDICT], sides_seconds[GRADIENT]
        times = (Spread.of(seconds).show(scale=1000) for seconds in (below, above))
        sheet.add(str(batch), *times, paired_ratio(above, below).show())
    facts = [
        f"Machine: {machine.describe()}; other processes used {others:.2f} cores meanwhile.",
        f"With {machine.describe_versions()}; {threads or 'all'} threads.",
        f"{architecture} on images {'x'.join(map(str, shape))}, {_CLASSES} classes, loss {chosen.label}.",
        f"{rounds} rounds, {machine.date}.",
        f"Command: `{command_line()}`",
    ]
    content: dict[str, Any] = {
        "command": command_line(),
        "machine": machine.as_json(),
        "company": describe_company(others),
        "ratio": {b: paired_ratio(m[GRADIENT], m[PREDICT]).as_json() for b, m in measured.items()},
        "seconds": measured,
    }
    report = Report(f"gradient_graph {architecture}", facts, [sheet], content)
    deliver(report, markdown=markdown, json_path=json_path, document=update)


def open_graphs(
    architecture: str, shape: tuple[int, int, int], threads: int, directory: Path
) -> dict[str, ort.InferenceSession]:
    """Export a network with drawn weights, and open its two graphs as a bundle's are opened."""
    torch.manual_seed(0)
    means = [0.5] * shape[0]
    network = build(architecture, classes=_CLASSES, channels=shape[0], size=shape[1:], mean=means, std=means)
    network.eval().requires_grad_(False)
    write_weights(network, directory / WEIGHTS)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    sessions = {}
    for name, graph_of in ((PREDICT, predict_graph), (GRADIENT, gradient_graph)):
        write_graph(graph_of(network, shape), directory / name, directory / WEIGHTS)
        path = str(directory / name)
        sessions[name] = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return sessions


def make_sides(
    sessions: dict[str, ort.InferenceSession], batch: int, shape: tuple[int, int, int], loss: Loss
) -> dict[str, Callable[[], float]]:
    """What is measured in a round: each side answers the seconds of one run."""
    images = np.random.default_rng(0).random((batch, *shape), dtype=np.float32)
    labels = np.arange(batch, dtype=np.int64) % _CLASSES
    feeds: dict[str, dict[str, np.ndarray]] = {
        PREDICT: {"images": images},
        GRADIENT: {
            "images": images,
            "labels": labels,
            "targets": (labels + 1) % _CLASSES,
            "loss": np.asarray(loss.id, dtype=np.int64),
        },
    }
    sides: dict[str, Callable[[], float]] = {}
    for name, session in sessions.items():
        work = partial(session.run, None, feeds[name])
        work()  # for nothing: the first run allocates
        repeats = max(1, round(_SECONDS / stopwatch(work, 1)))
        sides[name] = partial(stopwatch, work, repeats)
    return sides


def stopwatch(work: Callable[[], object], repeats: int) -> float:
    """Seconds of one run, over ``repeats`` of them."""
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    return (time.perf_counter() - began) / repeats


if __name__ == "__main__":
    run(main)
