"""IMT on ONNX Runtime: what it costs over a plain prediction, and beside IMT in eager torch.

    python benchmarks/imt_graph.py wrn-16-4 --threads 2

IMT is two forward passes and one backward pass to the image, so that its graph would cost three predictions
if nothing but arithmetic cost time. Eager torch computes the same by autograd. The weights are drawn: no time
depends on them. All sides take turns on the same images.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import onnxruntime as ort
import torch
import typer
from gradient_graph import stopwatch
from machine import Company, describe_company, describe_machine
from paired import Spread, alternate, paired_ratio
from report import Report, Sheet, command_line, deliver, run

from holdfast.bundle import DEFENDED, PREDICT, WEIGHTS
from holdfast.console import progress
from holdfast.manifold import classify_transformed
from training.export.graphs import predict_graph, transformation_graph
from training.export.weights import write_graph, write_weights
from training.models import build
from training.models.defended import DefendedNetwork, Latent
from training.models.discriminator import build_discriminator

_LIBRARIES = ("holdfast", "torch", "onnx", "onnxruntime", "numpy")
_CLASSES = 10
_EPSILON, _HALVED = 8 / 255, (0.3, 0.7)
_PLUS, _TORCH = DEFENDED["imt+"], "torch, eager"
#: Each measurement repeats its side for about this long.
_SECONDS = 0.05


def main(
    architecture: Annotated[str, typer.Argument(help="A network of training.models.")] = "wrn-16-4",
    discriminator: Annotated[str, typer.Option(help="A discriminator of training.models.")] = "wrn-28-5",
    latent: Annotated[str, typer.Option(help="What it judges: features or logits.")] = "features",
    batches: Annotated[list[int] | None, typer.Option("--batch", min=1, help="Default: 1, 8 and 32.")] = None,
    size: Annotated[int, typer.Option(min=1, help="Height and width of the images.")] = 32,
    channels: Annotated[int, typer.Option(min=1, max=3, help="Channels of the images: 1 or 3.")] = 3,
    threads: Annotated[int, typer.Option(min=1, help="Threads of either side.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Measurements of each side.")] = 25,
    json_path: Annotated[Path | None, typer.Option("--json", help="File for every value.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    update: Annotated[
        Path | None, typer.Option(help="Document to write the figures into, between this benchmark's marks.")
    ] = None,
) -> None:
    """Measure IMT+ as a graph against a plain prediction and against eager torch."""
    machine = describe_machine(*_LIBRARIES)
    shape = (channels, size, size)
    lengths = batches or [1, 8, 32]
    torch.set_num_threads(threads)
    network = make_network(architecture, discriminator, "logits" if latent == "logits" else "features", shape)
    measured: dict[int, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as directory:
        sessions = open_graphs(network, shape, threads, Path(directory))
        company = Company()
        with progress("Measuring", len(lengths) * rounds * 3, unit="measurements") as shown:
            for batch in lengths:
                sides = make_sides(network, sessions, batch, shape)
                measured[batch] = {side: [] for side in sides}
                for side, seconds in alternate(sides, rounds):
                    measured[batch][side].append(seconds)
                    shown.advance()
        others = company.cores()
    sheet = Sheet(
        "IMT+ over a prediction, and over IMT+ in torch",
        (">batch", f">{PREDICT}, ms", f">{_PLUS}, ms", f">{_TORCH}, ms", ">over a prediction", ">over torch"),
        f"Medians of {rounds} rounds, with the quartiles.",
    )
    for batch, found in measured.items():
        times = (Spread.of(found[side]).show(scale=1000) for side in (PREDICT, _PLUS, _TORCH))
        ratios = (paired_ratio(found[_PLUS], found[side]).show() for side in (PREDICT, _TORCH))
        sheet.add(str(batch), *times, *ratios)
    facts = [
        f"Machine: {machine.describe()}; other processes used {others:.2f} cores meanwhile.",
        f"With {machine.describe_versions()}; {threads} threads.",
        f"{architecture} on images {'x'.join(map(str, shape))}, {_CLASSES} classes, with a discriminator "
        f"{discriminator} of the {latent}.",
        f"{rounds} rounds, {machine.date}.",
        f"Command: `{command_line()}`",
    ]
    content: dict[str, Any] = {
        "command": command_line(),
        "machine": machine.as_json(),
        "company": describe_company(others),
        "over_prediction": {b: paired_ratio(m[_PLUS], m[PREDICT]).as_json() for b, m in measured.items()},
        "over_torch": {b: paired_ratio(m[_PLUS], m[_TORCH]).as_json() for b, m in measured.items()},
        "seconds": measured,
    }
    report = Report(f"imt_graph {architecture}", facts, [sheet], content)
    deliver(report, markdown=markdown, json_path=json_path, document=update)


def make_network(
    architecture: str, discriminator: str, latent: Latent, shape: tuple[int, int, int]
) -> DefendedNetwork:
    """A classifier and a discriminator with drawn weights."""
    torch.manual_seed(0)
    means = [0.5] * shape[0]
    network = build(architecture, classes=_CLASSES, channels=shape[0], size=shape[1:], mean=means, std=means)
    inputs = network.width if latent == "features" else _CLASSES
    judge = build_discriminator(discriminator, inputs=inputs, classes=_CLASSES)
    return DefendedNetwork(network, judge, latent).eval().requires_grad_(False)


def open_graphs(
    network: DefendedNetwork, shape: tuple[int, int, int], threads: int, directory: Path
) -> dict[str, ort.InferenceSession]:
    """Export the two graphs, and open them as a bundle's are opened."""
    write_weights(network, directory / WEIGHTS)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    graphs = {
        PREDICT: predict_graph(network, shape),
        _PLUS: transformation_graph(network, shape, name="imt", epsilon=_EPSILON, halved=_HALVED),
    }
    sessions = {}
    for name, graph in graphs.items():
        write_graph(graph, directory / name, directory / WEIGHTS)
        path = str(directory / name)
        sessions[name] = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return sessions


def make_sides(
    network: DefendedNetwork,
    sessions: dict[str, ort.InferenceSession],
    batch: int,
    shape: tuple[int, int, int],
) -> dict[str, Callable[[], float]]:
    """What is measured in a round: each side answers the seconds of one run."""
    images = np.random.default_rng(0).random((batch, *shape), dtype=np.float32)

    def eager() -> None:
        with torch.no_grad():
            classify_transformed(network, torch.from_numpy(images), epsilon=_EPSILON, halved=_HALVED)

    works: dict[str, Callable[[], object]] = {
        PREDICT: partial(sessions[PREDICT].run, None, {"images": images}),
        _PLUS: partial(sessions[_PLUS].run, None, {"images": images}),
        _TORCH: eager,
    }
    sides: dict[str, Callable[[], float]] = {}
    for name, work in works.items():
        work()  # for nothing: the first run allocates
        sides[name] = partial(stopwatch, work, max(1, round(_SECONDS / stopwatch(work, 1))))
    return sides


if __name__ == "__main__":
    run(main)
