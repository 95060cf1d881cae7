"""What ``holdfast train`` does once its arguments are read."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.tensorboard import SummaryWriter

from holdfast import console
from training import checkpoint, distributed, recipe
from training import data as datasets
from training.checkpoint import CheckpointInfo
from training.trainer import Trainer

if TYPE_CHECKING:
    from training.distributed import World


def run_recipe(
    reference: str,
    overrides: Sequence[str],
    *,
    run: Path | None,
    data_root: Path | None,
    download: bool,
    device: str,
    threads: int | None,
    save_every: float,
    restart: bool,
) -> int:
    """Train, and return the command's exit status: 0 done, 130 or 143 stopped by a signal.

    Raises:
        HoldfastError: The recipe, the data or the checkpoint cannot be used, or the loss diverged.
    """
    plan = recipe.load(reference, overrides)
    directory = run or Path("runs") / plan.name
    if threads is not None:
        torch.set_num_threads(threads)
    world = distributed.join(device)
    try:
        if restart and world.leads:
            shutil.rmtree(directory / "checkpoints", ignore_errors=True)
        world.barrier()
        dataset = _load(plan, data_root, download=download, world=world)
        with _signals() as caught, Terminal(directory, world) as terminal:
            trainer = Trainer(
                plan, dataset, directory, world, terminal, stop=lambda: bool(caught), save_every=save_every
            )
            trainer.resume()
            info = trainer.run()
        terminal.conclude(info, stopped=bool(caught))
        return 128 + caught[0] if caught and not info.finished else 0
    finally:
        distributed.leave()


def _load(plan: recipe.Recipe, root: Path | None, *, download: bool, world: World) -> datasets.Dataset:
    options = plan.dataset.options.model_dump(exclude_none=True)
    if download and not world.leads:
        world.barrier()  # the leading process fetches the files; the others read what it fetched
    dataset = datasets.load(plan.dataset.name, root, download=download and world.leads, **options)
    if download and world.leads:
        world.barrier()
    return dataset


class Terminal:
    """Shows a run on the terminal and in TensorBoard; only the leading process does."""

    def __init__(self, directory: Path, world: World) -> None:
        self._directory = directory
        self._world = world
        self._stack = ExitStack()
        self._bar: console.Progress | None = None
        self._log: SummaryWriter | None = None

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *failure: object) -> None:
        self._stack.close()
        if self._log is not None:
            self._log.close()

    def started(self, info: CheckpointInfo, steps_per_epoch: int) -> None:
        """See :class:`training.trainer.Reporter`."""
        if not self._world.leads:
            return
        total = info.recipe["epochs"] * steps_per_epoch
        data, model = info.dataset, info.recipe["model"]["architecture"]
        console.stderr.print(
            f"{info.recipe['method']['name']} on {data.name} ({data.train_images:,} images), {model}, "
            f"{info.recipe['epochs']} epochs of {steps_per_epoch} steps, on {info.hardware}"
        )
        if info.step:
            where = f"{self._directory} at step {info.step} of {total}"
            console.stderr.print(f"Finished before: {where}" if info.finished else f"Going on with {where}")
        # Points logged after the checkpoint that this run goes on from are drawn again.
        self._log = SummaryWriter(str(self._directory / "tensorboard"), purge_step=info.step or None)
        self._bar = self._stack.enter_context(console.progress("Training", total, unit="steps"))
        self._bar.update(info.step)

    def stepped(self, step: int, loss: float, learning_rate: float, images_per_second: float) -> None:
        """See :class:`training.trainer.Reporter`."""
        if self._bar is None or self._log is None:
            return
        self._bar.update(step, note=f"loss {loss:.3f}, {images_per_second:,.0f} images/s")
        self._log.add_scalar("train/loss", loss, step)
        self._log.add_scalar("train/learning_rate", learning_rate, step)
        self._log.add_scalar("train/images_per_second", images_per_second, step)

    def epoch_ended(self, epoch: int, step: int, measured: dict[str, float]) -> None:
        """See :class:`training.trainer.Reporter`."""
        if self._bar is None or self._log is None:
            return
        self._bar.update(step)
        for name, value in measured.items():
            if name not in ("epoch", "loss"):
                self._log.add_scalar(f"test/{name}", value, step)
        shown = ", ".join(
            f"{name} {value:.1%}" for name, value in measured.items() if name not in ("epoch", "loss")
        )
        loss = f"loss {measured['loss']:.3f}" if "loss" in measured else ""
        console.stderr.print(f"epoch {epoch}: {', '.join(each for each in (loss, shown) if each)}")

    def saved(self, path: Path) -> None:
        """See :class:`training.trainer.Reporter`."""
        del path

    def conclude(self, info: CheckpointInfo, *, stopped: bool) -> None:
        """Say where the run stands and what to do next."""
        if not self._world.leads:
            return
        if info.finished:
            console.stderr.print(
                f"Trained {info.epoch} epochs in {info.seconds:,.0f} s; saved in {self._directory}"
            )
            console.stderr.print(f"Next: holdfast export {self._directory} --name {info.recipe['name']}")
        elif stopped:
            newest = checkpoint.latest(self._directory)
            console.stderr.print(
                f"Stopped after step {info.step}; saved in {newest}. The same command goes on from there."
            )


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect Ctrl-C and SIGTERM instead of dying of them; a second one acts as it would have."""
    caught: list[int] = []
    wanted = (signal.SIGINT, signal.SIGTERM)
    before: dict[int, Any] = {}

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        caught.append(number)
        console.stderr.print("Finishing this step and saving; once more stops at once.")
        for which in wanted:
            signal.signal(which, before[which])

    for number in wanted:
        before[number] = signal.signal(number, note)
    try:
        yield caught
    finally:
        for number in wanted:
            signal.signal(number, before[number])
