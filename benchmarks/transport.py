"""The transport solvers against POT's, on the problem that Feature Scattering solves in every step.

    python benchmarks/transport.py --threads 1

Every side computes the distance of two batches of logits under the cosine cost and its gradient in the moved
batch, through all of its iterations. The logits cluster by class, as those of a network in training do. POT
runs on torch tensors, with as many iterations as the side that it is compared with and without a test of
convergence that could stop it earlier; its exact solver is there for the distance, and as what an
unregularised plan costs. How much of a whole training step the transport is: benchmarks/training_step.py.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import ot  # type: ignore[import-untyped]
import torch
import typer
from machine import Company, describe_company, describe_machine
from paired import Spread, alternate, paired_ratio
from report import Report, Sheet, command_line, deliver, run
from torch import Tensor

from holdfast.console import progress
from training.transport import MatchingOptions, cosine_cost, matching_distance

_LIBRARIES = ("holdfast", "torch", "pot", "numpy")
_CLASSES = 10
_REGULARISATION = 0.01
#: Each measurement repeats its solver for about this long.
_SECONDS = 0.05
#: What the others are compared with: the recipes' default.
DEFAULT = "Sinkhorn, 3 iterations"

Distance = Callable[[Tensor, Tensor], Tensor]


def main(
    sizes: Annotated[list[int] | None, typer.Option("--size", min=2, help="Default: 60 and 128.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads on a CPU; 0 leaves them to torch.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    rounds: Annotated[int, typer.Option(min=1, help="Measurements of each side.")] = 25,
    json_path: Annotated[Path | None, typer.Option("--json", help="File for every value.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    update: Annotated[
        Path | None, typer.Option(help="Document to write the figures into, between this benchmark's marks.")
    ] = None,
) -> None:
    """Measure the transport solvers against POT's."""
    if threads:
        torch.set_num_threads(threads)
    machine = describe_machine(*_LIBRARIES)
    images = sizes or [60, 128]
    measured: dict[int, dict[str, list[float]]] = {}
    distances: dict[int, dict[str, float]] = {}
    with progress("Measuring", len(images) * rounds * len(solvers()), unit="measurements") as shown:
        company = Company()
        for size in images:
            problem = logits(size, device)
            turns = make_sides(*problem)
            distances[size] = {name: float(solve(*problem)) for name, solve in solvers().items()}
            measured[size] = {side: [] for side in turns}
            for side, seconds in alternate(turns, rounds):
                measured[size][side].append(seconds)
                shown.advance()
        others = company.cores()
    facts = [
        f"Machine: {machine.describe()}; other processes used {others:.2f} cores meanwhile.",
        f"With {machine.describe_versions()}; on {device}, {threads or 'all'} threads.",
        f"{rounds} rounds, {machine.date}. Regularisation {_REGULARISATION}, float32.",
        f"Command: `{command_line()}`",
    ]
    content: dict[str, Any] = {
        "command": command_line(),
        "machine": machine.as_json(),
        "company": describe_company(others),
        "distances": distances,
        "seconds": measured,
    }
    sheets = [make_sheet(size, measured[size], distances[size], rounds) for size in images]
    report = Report("transport", facts, sheets, content)
    deliver(report, markdown=markdown, json_path=json_path, document=update)


def logits(images: int, device: str) -> tuple[Tensor, Tensor]:
    """Clean logits that cluster by class, and the same a little moved; both (images, 10)."""
    generator = torch.Generator().manual_seed(0)
    centres = 3 * torch.eye(_CLASSES)[torch.arange(images) % _CLASSES]
    clean = centres + torch.randn(images, _CLASSES, generator=generator)
    moved = clean + 0.3 * torch.randn(images, _CLASSES, generator=generator)
    return clean.to(device), moved.to(device)


def solvers() -> dict[str, Distance]:
    """The distance by each solver, of clean and moved features."""
    return {
        DEFAULT: ours(),
        "POT sinkhorn_log, 3 iterations": by_pot("sinkhorn_log", 3),
        "Sinkhorn, 50 iterations": ours(sinkhorn_iterations=50),
        "POT sinkhorn_log, 50 iterations": by_pot("sinkhorn_log", 50),
        "POT sinkhorn (kernel), 50 iterations": by_pot("sinkhorn", 50),
        "IPOT, 50 steps": ours(solver="ipot"),
        "IPOT, 50 steps, plan detached": ours(solver="ipot", plan_gradient="detached"),
        "POT emd2 (exact)": exactly,
    }


def ours(**options: Any) -> Distance:
    """By :mod:`training.transport`, all images in one group."""
    chosen = MatchingOptions.model_validate(
        {"regularisation": _REGULARISATION, "group": 10**6, "sinkhorn_iterations": 3, **options}
    )
    return partial(matching_distance, options=chosen)


def by_pot(method: str, iterations: int) -> Distance:
    """By POT's Sinkhorn on torch tensors, never stopped early."""

    def distance(clean: Tensor, moved: Tensor) -> Tensor:
        cost = cosine_cost(clean, moved)
        weights = torch.full_like(clean[:, 0], 1 / len(clean))
        plan: Tensor = ot.sinkhorn(
            weights,
            weights,
            cost,
            _REGULARISATION,
            method,
            numItermax=iterations,
            stopThr=0,
            warn=False,
        )
        return (plan * cost).sum()

    return distance


def exactly(clean: Tensor, moved: Tensor) -> Tensor:
    """By POT's network simplex, whose plan is computed on the host."""
    weights = torch.full_like(clean[:, 0], 1 / len(clean))
    distance: Tensor = ot.emd2(weights, weights, cosine_cost(clean, moved))
    return distance


def make_sides(clean: Tensor, moved: Tensor) -> dict[str, Callable[[], float]]:
    """What is measured in a round: each side answers the seconds of one distance and its gradient."""
    sides: dict[str, Callable[[], float]] = {}
    for name, solve in solvers().items():
        work = partial(differentiate, solve, clean, moved)
        work()  # for nothing: the first run allocates
        repeats = max(1, round(_SECONDS / stopwatch(work, 1, clean.device)))
        sides[name] = partial(stopwatch, work, repeats, clean.device)
    return sides


def differentiate(solve: Distance, clean: Tensor, moved: Tensor) -> Tensor:
    """The gradient of the distance in the moved features."""
    leaf = moved.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(solve(clean, leaf), leaf)
    return gradient


def stopwatch(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Seconds of one run, over ``repeats`` of them, the device's included."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    for _ in range(repeats):
        work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - began) / repeats


def make_sheet(
    images: int, measured: Mapping[str, Sequence[float]], distances: Mapping[str, float], rounds: int
) -> Sheet:
    """Times and distances of one batch size."""
    sheet = Sheet(
        f"The distance of {images} images and its gradient",
        ("", ">ms", ">over the default", ">distance"),
        f"Medians of {rounds} rounds, with the quartiles. The last row's distance is the exact one.",
    )
    for name, seconds in measured.items():
        ratio = paired_ratio(seconds, measured[DEFAULT]).show()
        sheet.add(name, Spread.of(seconds).show(scale=1000), ratio, f"{distances[name]:.5f}")
    return sheet


if __name__ == "__main__":
    run(main)
