"""A training step against the sum of its parts: how much of its time is not spent in the network.

    python benchmarks/training_step.py fs-cifar10 --architecture wrn-16-2 --rounds 15

A step is the trainer's own, ``Trainer.take_step``, on one batch. Its parts are what no implementation can do
without, on the same network and the same batch, with nothing around them. For Feature Scattering they are
three forwards and two backwards: a clean forward without gradients, a forward and a backward to the images
alone, both in eval mode, and a forward and a whole backward in train mode.

Step and parts take turns. So does all else that a step does, each thing by itself: the random start, the
transport, the projection, the loss, the optimiser, the average. What these leave of the step is the
bookkeeping between them, and what the caches forget where one thing follows another.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from machine import Company, describe_company, describe_machine
from paired import Spread, alternate, paired_ratio
from report import Report, Sheet, command_line, deliver, run
from step_parts import parts_of
from step_pieces import Parts, Piece
from torch import Tensor

from holdfast.console import progress
from training import recipe as recipes
from training.checkpoint import CheckpointInfo
from training.data import Augmentation, Dataset, Split
from training.data.loader import Batches
from training.distributed import join
from training.environment import hardware
from training.recipe import Recipe
from training.trainer import Trainer

_LIBRARIES = ("holdfast", "torch", "numpy")

STEP = "the whole step"
#: Beside the step: the trainer's loop draws the next batch between two steps.
BATCH = "drawing and augmenting the next batch"


def main(
    recipe: Annotated[str, typer.Argument(help="A shipped recipe's name, or a YAML file.")] = "fs-cifar10",
    architecture: Annotated[str, typer.Option(help="The network, in place of the recipe's.")] = "wrn-16-2",
    batch: Annotated[int | None, typer.Option(min=2, help="Another batch size.")] = None,
    precision: Annotated[str | None, typer.Option(help="Another precision: float32 or bfloat16.")] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", help="key=value of the recipe; may be repeated.")
    ] = None,
    size: Annotated[int, typer.Option(min=8, help="Height and width of the images.")] = 32,
    channels: Annotated[int, typer.Option(min=1, max=3, help="Channels of the images: 1 or 3.")] = 3,
    threads: Annotated[int, typer.Option(min=0, help="Threads on a CPU; 0 leaves them to torch.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    rounds: Annotated[int, typer.Option(min=1, help="Measurements of each side.")] = 15,
    json_path: Annotated[Path | None, typer.Option("--json", help="File for every value.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    update: Annotated[
        Path | None, typer.Option(help="Document to write the figures into, between this benchmark's marks.")
    ] = None,
) -> None:
    """Measure a training step against the sum of its parts."""
    if threads:
        torch.set_num_threads(threads)
    world = join(device)
    machine = describe_machine(*_LIBRARIES)
    changes = [f"model.architecture={architecture}", *(overrides or ())]
    for key, value in (("batch_size", batch), ("precision", precision)):
        changes += [] if value is None else [f"{key}={value}"]
    # A rate so small that the weights stay what they are, however long is measured; it costs the same.
    chosen = recipes.load(recipe, [*changes, "optimiser.learning_rate=1e-12"])
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-bench-")))
        data = random_images(chosen.batch_size, (channels, size, size))
        trainer = Trainer(chosen, data, directory, world, _NoReporter())
    if chosen.compile:
        trainer.network.body.compile()
    parts = parts_of(trainer)
    sides = make_sides(trainer, parts)
    turns = {side: partial(stopwatch, trainer, piece) for side, piece in sides.items()}
    with progress("Measuring", len(sides) * (rounds + 2), unit="measurements") as shown:
        for _ in alternate(turns, 2):  # for nothing: the first runs allocate, tune and compile
            shown.advance()
        company = Company()
        measured: dict[str, list[float]] = {side: [] for side in sides}
        for side, seconds in alternate(turns, rounds):
            measured[side].append(seconds)
            shown.advance()
        others = company.cores()
    shares = share_out(measured, parts)
    step, sums = measured[STEP], total(measured, parts.network)
    facts = [
        f"Machine: {machine.describe()}; other processes used {others:.2f} cores meanwhile.",
        f"With {machine.describe_versions()}; on {hardware(world)}.",
        f"Step: {describe_step(chosen, data.shape)}: {parts.describe()}.",
        f"{rounds} rounds, {machine.date}. The images are noise: no step depends on what they show.",
        f"Command: `{command_line()}`",
    ]
    content: dict[str, Any] = {
        "command": command_line(),
        "machine": machine.as_json(),
        "company": describe_company(others),
        "hardware": hardware(world),
        "recipe": chosen.model_dump(mode="json"),
        "efficiency": paired_ratio(sums, step).as_json(),
        "shares": {name: spread.as_json() for name, spread in shares.items()},
        "seconds": measured,
    }
    sheets = [
        rate_sheet(step, sums, chosen.batch_size, rounds),
        share_sheet(measured, shares, parts),
    ]
    report = Report(f"training_step {chosen.method['name']}", facts, sheets, content)
    deliver(report, markdown=markdown, json_path=json_path, document=update)


class _NoReporter:
    """Nobody watches: the loop that would report is not run."""

    def started(self, info: CheckpointInfo, steps_per_epoch: int) -> None:
        pass

    def stepped(self, step: int, loss: float, learning_rate: float, images_per_second: float) -> None:
        pass

    def epoch_ended(self, epoch: int, step: int, measured: dict[str, float]) -> None:
        pass

    def saved(self, path: Path) -> None:
        pass


def random_images(batch: int, shape: tuple[int, int, int]) -> Dataset:
    """A data set of noise, a few batches long, cropped and mirrored as CIFAR-10 is."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (8 * batch, *shape), dtype=np.uint8)
    split = Split(images, np.arange(8 * batch, dtype=np.int64) % 10)
    classes = tuple(str(number) for number in range(10))
    return Dataset("random", split, split.take(slice(0, 1)), classes, Augmentation(crop=4, flip=True))


def describe_step(recipe: Recipe, shape: tuple[int, int, int]) -> str:
    """The step in words."""
    size = "x".join(map(str, shape))
    how = [recipe.precision, *(["channels last"] if recipe.channels_last else [])]
    how += ["compiled"] if recipe.compile else []
    batch = f"{recipe.batch_size} images of {size} a batch"
    return f"{recipe.method['name']} on {recipe.model.architecture}, {batch}, {', '.join(how)}"


def make_sides(trainer: Trainer, parts: Parts) -> dict[str, Piece]:
    """What is measured in a round, in the order of it."""
    batches = _forever(trainer.batches)
    step = Piece(partial(trainer.take_step, *next(batches)))
    return {STEP: step, **parts.network, **parts.other, BATCH: Piece(partial(next, batches))}


def _forever(batches: Batches) -> Iterator[tuple[Tensor, Tensor]]:
    for epoch in count():
        yield from batches.epoch(epoch)


def stopwatch(trainer: Trainer, piece: Piece) -> float:
    """Seconds that a piece takes, the device's included."""
    trainer.network.train(piece.training)
    _wait_for(trainer.world.device)
    began = time.perf_counter()
    piece.work()
    _wait_for(trainer.world.device)
    return time.perf_counter() - began


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def total(measured: Mapping[str, Sequence[float]], names: Iterable[str]) -> list[float]:
    """The sum of some of the sides in each round."""
    return [sum(each) for each in zip(*(measured[name] for name in names), strict=True)]


def share_out(measured: Mapping[str, Sequence[float]], parts: Parts) -> dict[str, Spread]:
    """The share of each thing in the step of the same round, and of what they leave.

    Args:
        measured: Seconds of each side in each round.
        parts: What the step is made of.
    """
    step = measured[STEP]
    names = [*parts.network, *parts.other]
    shares = {name: paired_ratio(measured[name], step) for name in names}
    left = [whole - known for whole, known in zip(step, total(measured, names), strict=True)]
    return {**shares, "between them": paired_ratio(left, step)}


def rate_sheet(step: Sequence[float], sums: Sequence[float], images: int, rounds: int) -> Sheet:
    """Images per second of the step and of the sum of its parts, and the ratio."""
    sheet = Sheet(
        "The step and the sum of its parts in the network",
        ("", ">images/s", ">ms", ">rate over the parts'"),
        f"Medians of {rounds} rounds, with the quartiles. At 1 a step would do nothing but run the network.",
    )
    sheet.add("its parts in the network", *_rate(sums, images), "1")
    sheet.add(STEP, *_rate(step, images), paired_ratio(sums, step).show())
    return sheet


def share_sheet(measured: Mapping[str, Sequence[float]], shares: Mapping[str, Spread], parts: Parts) -> Sheet:
    """Where the step's time goes."""
    sheet = Sheet(
        "Where the step's time goes",
        ("", ">ms", ">% of the step"),
        "Each measured by itself, in turn with the step. The next batch is drawn between two steps.",
    )
    for name, share in shares.items():
        sheet.add(name, _milliseconds(measured[name]) if name in measured else "", share.show(scale=100))
    step = measured[STEP]
    outside = [whole - inside for whole, inside in zip(step, total(measured, parts.network), strict=True)]
    sheet.add("all that is not in the network", _milliseconds(outside), _percent(outside, step))
    sheet.add(BATCH, _milliseconds(measured[BATCH]), _percent(measured[BATCH], step))
    return sheet


def _rate(seconds: Sequence[float], images: int) -> tuple[str, str]:
    return Spread.of([images / each for each in seconds]).show(), _milliseconds(seconds)


def _milliseconds(seconds: Sequence[float]) -> str:
    return Spread.of(seconds).show(scale=1000)


def _percent(seconds: Sequence[float], of: Sequence[float]) -> str:
    return paired_ratio(seconds, of).show(scale=100)


if __name__ == "__main__":
    run(main)
