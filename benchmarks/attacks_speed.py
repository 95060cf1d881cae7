"""PGD-20 by our engine on ONNX Runtime, against our engine on eager torch and against other libraries.

    python benchmarks/attacks_speed.py pgd-at-cifar10 --threads 1 --threads 2 --images test

One bundle, one attack, the same settings: every side takes 20 steps with every image, from the image itself,
and gives back the last iterate. They take turns, batch size by batch size. Before anything is measured the
sides' results are compared, and a side that does not compute what the others compute ends the benchmark.

The engine also asks the model about the clean images, about the results, and about the results in 8 bits;
that is in its time. How much of its time is not spent in the model at all is measured beside, within each
run, by a clock around every call of the model.

The environment of ``make test`` has foolbox. torchattacks and ART want one of their own, because they bring
packages that stand in the way of others (torchattacks a top-level ``robustbench`` and an old requests). One
that sees everything of the environment it is made in, and keeps theirs to itself:

    python -m venv --system-site-packages peers         # or a .pth file with site.addsitedir('…')
    peers/bin/pip install --no-deps torchattacks adversarial-robustness-toolbox
    peers/bin/pip install six tqdm
    peers/bin/python benchmarks/attacks_speed.py

What is not installed is left out, and the report says so.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import typer
from attacks_speed_report import (
    GRADIENTS,
    OURS,
    OURS_TORCH,
    Measured,
    Turn,
    overhead_sheet,
    ratio_sheet,
    time_sheet,
)
from machine import Company, describe_company, describe_machine
from paired import alternate
from pgd_peers import PEERS, Run, Settings, Target
from report import Report, command_line, deliver, run

from holdfast.attacks import Loss, Oracle, PGDParameters, attack
from holdfast.attacks.loss import AnyLoss
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.attacks.oracle import Array, GradientAnswer
from holdfast.attacks.torch_oracle import TorchOracle
from holdfast.bundle import Bundle, resolve
from holdfast.console import progress
from holdfast.errors import HoldfastError, UsageError
from training.data import load
from training.rebuild import rebuild

#: Tells seconds; only differences mean anything.
Clock = Callable[[], float]
_CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}

#: Sign steps differ where a gradient is zero but for rounding; more than that is another computation.
_MAY_DIFFER = 0.05


class DisagreementError(HoldfastError):
    """A side does not compute what the others compute."""


class ClockedOracle:
    """An oracle with a clock around every call: what is left of an attack's time is the engine's own.

    Args:
        oracle: The model.
        clock: Tells seconds.
    """

    def __init__(self, oracle: Oracle, clock: Clock) -> None:
        self._oracle = oracle
        self._clock = clock
        self.seconds = 0.0

    @property
    def classes(self) -> int:
        """See :class:`holdfast.attacks.oracle.Oracle`."""
        return self._oracle.classes

    def logits(self, images: Array) -> Array:
        """See :class:`holdfast.attacks.oracle.Oracle`."""
        began = self._clock()
        try:
            return self._oracle.logits(images)
        finally:
            self.seconds += self._clock() - began

    def gradient(
        self,
        images: Array,
        labels: Array,
        loss: AnyLoss,
        targets: Array | None = None,
        originals: Array | None = None,
    ) -> GradientAnswer:
        """See :class:`holdfast.attacks.oracle.Oracle`."""
        began = self._clock()
        try:
            return self._oracle.gradient(images, labels, loss, targets, originals)
        finally:
            self.seconds += self._clock() - began


@dataclass(frozen=True)
class Side:
    """One implementation.

    Attributes:
        work: What it computes.
        clock: Tells seconds.
        model: The model with a clock around it, if there is one.
    """

    work: Run
    clock: Clock
    model: ClockedOracle | None = None

    def measure(self, images: np.ndarray, labels: np.ndarray, repeats: int) -> Turn:
        """The seconds of one attack, over ``repeats`` of them."""
        before = self.model.seconds if self.model else 0.0
        began = self.clock()
        for _ in range(repeats):
            self.work(images, labels)
        seconds = (self.clock() - began) / repeats
        return Turn(seconds, (self.model.seconds - before) / repeats if self.model else None)


def main(
    bundle: Annotated[str, typer.Argument(help="NAME or NAME/VERSION.")] = "pgd-at-cifar10",
    store: Annotated[Path, typer.Option(help="The model store.")] = Path("model_store"),
    batches: Annotated[list[int] | None, typer.Option("--batch", min=1, help="Default: 1, 8 and 32.")] = None,
    threads: Annotated[list[int] | None, typer.Option(min=1, help="May be repeated. [default: 1]")] = None,
    steps: Annotated[int, typer.Option(min=1, help="Of PGD.")] = 20,
    images: Annotated[
        Literal["noise", "test"], typer.Option(help="Drawn, or of the test set of the bundle's data.")
    ] = "noise",
    seconds: Annotated[float, typer.Option(min=0.0, help="Of each measurement.")] = 0.3,
    clock: Annotated[
        Literal["wall", "cpu"],
        typer.Option(help="cpu: CPU time, for one thread on a machine that is not alone."),
    ] = "wall",
    rounds: Annotated[int, typer.Option(min=1, help="Measurements of each side.")] = 15,
    json_path: Annotated[Path | None, typer.Option("--json", help="File for every value.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    update: Annotated[
        Path | None, typer.Option(help="Document to write the figures into, between this benchmark's marks.")
    ] = None,
) -> None:
    """Measure PGD on ONNX Runtime against eager torch and other libraries."""
    counts = sorted(set(threads or (1,)))
    if clock == "cpu" and counts != [1]:
        raise UsageError(
            "CPU time is that of all threads together.", hint="Give --threads 1, or --clock wall."
        )
    opened = resolve(bundle, store)
    settings = Settings(steps=steps)
    lengths = sorted(set(batches or (1, 8, 32)))
    pixels, labels = find_images(opened, max(lengths), images)
    missing = [peer for peer in PEERS if peer.missing]
    machine = describe_machine("holdfast", "onnxruntime", "numpy", *(peer.package for peer in PEERS))
    measured: Measured = {}
    company = Company()
    with progress("Measuring", len(counts) * len(lengths) * rounds, unit="rounds") as shown:
        for count in counts:
            torch.set_num_threads(count)
            sides = make_sides(opened, settings, count, _CLOCKS[clock])
            for length in lengths:
                batch = pixels[:length], labels[:length]
                check({name: side.work(*batch) for name, side in sides.items()}, settings)
                turns = {name: repeat(side, *batch, seconds) for name, side in sides.items()}
                case = measured[count, length] = {name: [] for name in sides}
                for name, turn in alternate(turns, rounds):
                    case[name].append(turn)
                    if name == OURS:
                        shown.advance(note=f"{count} threads, batch {length}")
    others = company.cores()
    facts = [
        f"Machine: {machine.describe()}; other processes used {others:.2f} cores meanwhile.",
        f"With {machine.describe_versions()}.",
        f"Model: {opened.name} version {opened.version}, {opened.manifest.architecture.name} on "
        f"{'x'.join(map(str, opened.manifest.input.shape))}; "
        f"{'images of the test set' if images == 'test' else 'images are noise'}.",
        f"PGD-{steps} on L∞, ε 8/255, step 2/255, from the image itself, every step with every image.",
        f"{rounds} rounds, {machine.date}; {'wall' if clock == 'wall' else 'CPU'} time.",
        *([f"Not installed, left out: {', '.join(peer.name for peer in missing)}."] if missing else []),
        f"Command: `{command_line()}`",
    ]
    content: dict[str, Any] = {
        "command": command_line(),
        "machine": machine.as_json(),
        "company": describe_company(others),
        "clock": clock,
        "model": f"{opened.name}/{opened.version}",
        "missing": [peer.name for peer in missing],
        "measurements": [
            {
                "threads": count,
                "batch": length,
                "side": name,
                "seconds": [turn.seconds for turn in turns_of],
                "model_seconds": [turn.model for turn in turns_of],
            }
            for (count, length), by_side in measured.items()
            for name, turns_of in by_side.items()
        ],
    }
    sheets = [ratio_sheet(measured), overhead_sheet(measured, steps), time_sheet(measured)]
    report = Report("attacks_speed", facts, sheets, content)
    deliver(report, markdown=markdown, json_path=json_path, document=update)


def find_images(bundle: Bundle, count: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """The first test images of the bundle's data set with their labels, or noise with any labels."""
    manifest = bundle.manifest
    if kind == "noise":
        random = np.random.default_rng(0)
        pixels = random.random((count, *manifest.input.shape), dtype=np.float32)
        return pixels, random.integers(len(manifest.classes), size=count)
    test = load(manifest.dataset.name).test.take(slice(0, count))
    return test.images.astype(np.float32) / np.float32(255), test.labels.astype(np.int64)


def make_sides(bundle: Bundle, settings: Settings, threads: int, clock: Clock) -> dict[str, Side]:
    """What is measured in a round, in the order of it: what is compared most stands side by side."""
    network = rebuild(bundle).requires_grad_(False)  # no side shall pay for gradients of weights
    target = Target(network, bundle.manifest.input.shape, len(bundle.manifest.classes))
    onnx = OnnxOracle(bundle, threads=threads)
    clocked = ClockedOracle(onnx, clock)
    clocked_torch = ClockedOracle(TorchOracle(network, target.classes), clock)
    parameters = PGDParameters(
        epsilon=settings.epsilon,
        step_size=settings.step_size,
        steps=settings.steps,
        random_start=False,
        stop_at_success=False,
    )

    def ours(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        found: np.ndarray = attack(clocked, images, labels, parameters).images
        return found

    def ours_torch(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        found = attack(clocked_torch, torch.from_numpy(images), torch.from_numpy(labels), parameters).images
        pixels: np.ndarray = found.numpy()
        return pixels

    def gradients(images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        for _ in range(settings.steps):
            onnx.gradient(images, labels, Loss.CROSS_ENTROPY)
        return images

    return {
        GRADIENTS: Side(gradients, clock),
        OURS: Side(ours, clock, clocked),
        **{peer.name: Side(peer.make(target, settings), clock) for peer in PEERS if not peer.missing},
        OURS_TORCH: Side(ours_torch, clock, clocked_torch),
    }


def check(found: Mapping[str, np.ndarray], settings: Settings) -> None:
    """See that all sides found the same images, but for the signs of gradients that are nearly zero.

    Raises:
        DisagreementError: One did not.
    """
    reference = found[OURS]
    for name, images in found.items():
        if name == GRADIENTS:  # not an attack
            continue
        differ = float(np.mean(np.abs(images - reference) > settings.step_size / 2))
        if images.shape != reference.shape or differ > _MAY_DIFFER:
            raise DisagreementError(
                f"{name} differs from {OURS} in {differ:.1%} of the pixels.",
                hint="The sides do not run the same attack; a ratio of their times would mean nothing.",
            )


def repeat(side: Side, images: np.ndarray, labels: np.ndarray, seconds: float) -> Callable[[], Turn]:
    """A measurement that repeats the side for about ``seconds``; it has run once when this returns."""
    once = side.measure(images, labels, 1).seconds
    return partial(side.measure, images, labels, max(1, round(seconds / once)))


if __name__ == "__main__":
    run(main)
