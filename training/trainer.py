"""The training loop: read it top to bottom.

Every random number is a function of the recipe's seed and of the step it is drawn for, so a run that was
stopped anywhere and resumed ends with the weights of one that was not: bit for bit on one CPU machine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from holdfast.errors import HoldfastError, UsageError
from training import checkpoint
from training.averaging import Average
from training.checkpoint import CheckpointInfo, DatasetFacts
from training.data import Augmentation, Dataset
from training.data.loader import Batches
from training.distributed import World
from training.environment import hardware, libraries
from training.models import Network, build
from training.monitor import measure
from training.noise import StepNoise
from training.recipe import Recipe, completed


class DivergedError(HoldfastError):
    """The loss is no longer a number."""


class Reporter(Protocol):
    """Who watches a run."""

    def started(self, info: CheckpointInfo, steps_per_epoch: int) -> None:
        """The loop begins, or goes on, from where ``info`` says."""

    def stepped(self, step: int, loss: float, learning_rate: float, images_per_second: float) -> None:
        """A step is done; called a few times a second at most."""

    def epoch_ended(self, epoch: int, step: int, measured: dict[str, float]) -> None:
        """An epoch is done, with what was measured after it."""

    def saved(self, path: Path) -> None:
        """A checkpoint is whole on disk."""


@dataclass
class Trainer:
    """One run of one recipe.

    Attributes:
        recipe: What to do.
        dataset: What to do it on.
        directory: The run's directory; checkpoints and logs go there.
        world: This process among those that train together.
        reporter: Who watches.
        stop: Asked after every step; once it answers True, the run saves itself and returns.
        save_every: Seconds between checkpoints inside an epoch; one is written after each epoch anyway.
    """

    recipe: Recipe
    dataset: Dataset
    directory: Path
    world: World
    reporter: Reporter
    stop: Callable[[], bool] = lambda: False
    save_every: float = 300.0
    history: list[dict[str, float]] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        recipe, data, world = self.recipe, self.dataset, self.world
        torch.manual_seed(recipe.seed)
        self.facts = DatasetFacts(
            name=data.name,
            digest=data.digest,
            note=data.note,
            train_images=len(data.train),
            classes=list(data.classes),
            shape=data.shape,
            mean=list(data.mean),
            std=list(data.std),
        )
        self.network = self._make_network()
        self.optimiser = torch.optim.SGD(
            self.network.parameters(),
            lr=recipe.optimiser.learning_rate,
            momentum=recipe.optimiser.momentum,
            weight_decay=recipe.optimiser.weight_decay,
            nesterov=recipe.optimiser.nesterov,
        )
        self.average = Average(self.network, recipe.averaging.decay) if recipe.averaging else None
        self.method = recipe.make_method()
        self.companions = self.method.companions(self.network)
        for companion in self.companions.values():
            decay = recipe.averaging.decay if recipe.averaging else None
            companion.join(world, decay=decay, channels_last=recipe.channels_last)
        self.batches = Batches(
            data.train,
            recipe.batch_size,
            recipe.seed,
            world.device,
            augment=data.augmentation if recipe.dataset.augment else Augmentation(),
            rank=world.rank,
            world_size=world.size,
            channels_last=recipe.channels_last,
        )
        self.noise = StepNoise(recipe.seed, world)
        self.epoch = self.step_in_epoch = self.step = 0
        self.seconds = 0.0

    def run(self) -> CheckpointInfo:
        """Train from where the run stands to the recipe's end, or until told to stop.

        Returns:
            Where the run stands now; its last checkpoint says the same.

        Raises:
            DivergedError: The loss became infinite or NaN.
        """
        for network in (self.network, *(companion.network for companion in self.companions.values())):
            self.world.copy_from_leader(network)
        self.network.train()
        if self.recipe.compile:
            self.network.body.compile()
        self.reporter.started(self.info(), len(self.batches))
        clock = _Clock(self.seconds, self.recipe.batch_size)
        saved = time.monotonic()
        while self.epoch < self.recipe.epochs:
            loss = None
            for images, labels in self.batches.epoch(self.epoch, self.step_in_epoch):
                loss = self.take_step(images, labels)
                self.seconds = clock.tick()
                if clock.due():
                    value = loss.item()
                    self._check(value)
                    self.reporter.stepped(self.step, value, self.learning_rate(), clock.rate())
                if self.step_in_epoch == len(self.batches):
                    break  # the end of the epoch is saved, and then it is time to stop
                # Both are put to the vote: clocks and signals differ, and all have to save together.
                stop, due = self.world.vote(self.stop(), time.monotonic() - saved > self.save_every)
                if stop or due:
                    self.save()
                    saved = time.monotonic()
                if stop:
                    return self.info()
            self._end_epoch(clock, loss)
            saved = time.monotonic()
            if self.world.vote(self.stop())[0]:
                break
        return self.info()

    def _end_epoch(self, clock: _Clock, loss: Tensor | None) -> None:
        """Look, log and save; of a run that was resumed right here nobody knows the last loss."""
        self.epoch, self.step_in_epoch = self.epoch + 1, 0
        measured = {"epoch": float(self.epoch)}
        if loss is not None:
            self._check(loss.item())
            measured["loss"] = loss.item()
        measured |= self.method.readings() | self._monitor()
        self.seconds = clock.tick()
        self.history.append(measured)
        self.reporter.epoch_ended(self.epoch, self.step, measured)
        self.save()

    def take_step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One batch: the method's loss, its gradient, one step of the optimiser, the averages."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate()
        for companion in self.companions.values():
            companion.schedule(self._schedule_factor())
        self.noise.at(self.step)
        loss = self.method.loss(self.network, images, labels, self.noise)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.world.average_gradients(self.network)
        self.optimiser.step()
        self.step += 1
        self.step_in_epoch += 1
        if self.average is not None:
            self.average.update(self.network, self.step)
        for companion in self.companions.values():
            if companion.average is not None:
                companion.average.update(companion.network, self.step)
        return loss.detach()

    def learning_rate(self) -> float:
        """The learning rate of the next step."""
        return self.recipe.optimiser.learning_rate * self._schedule_factor()

    def resume(self) -> bool:
        """Go on from the run's newest checkpoint, if there is one.

        Raises:
            UsageError: The run was started with another recipe or other data.
            CheckpointError: The checkpoint is damaged.
        """
        newest = checkpoint.latest(self.directory)
        if newest is None:
            return False
        info = checkpoint.read_info(newest)
        self._check_same_run(info)
        checkpoint.restore(newest, self.network, self.optimiser, self.average, self.companions)
        self.epoch, self.step_in_epoch, self.step = info.epoch, info.step_in_epoch, info.step
        self.seconds, self.history = info.seconds, list(info.history)
        return True

    def save(self) -> None:
        """Write a checkpoint; only the leading process does."""
        if self.world.leads:
            path = checkpoint.save(
                self.directory, self.info(), self.network, self.optimiser, self.average, self.companions
            )
            self.reporter.saved(path)
        self.world.barrier()

    def info(self) -> CheckpointInfo:
        """Where the run stands."""
        return CheckpointInfo(
            recipe=self.recipe.model_dump(mode="json"),
            dataset=self.facts,
            epoch=self.epoch,
            step_in_epoch=self.step_in_epoch,
            step=self.step,
            seconds=self.seconds,
            hardware=hardware(self.world),
            finished=self.epoch >= self.recipe.epochs,
            history=self.history,
            libraries=libraries(),
        )

    def _schedule_factor(self) -> float:
        return self.recipe.schedule.at(self.step / len(self.batches), self.recipe.epochs)

    def _make_network(self) -> Network:
        network = build(
            self.recipe.model.architecture,
            classes=len(self.facts.classes),
            channels=self.facts.shape[0],
            size=self.facts.shape[1:],
            mean=self.facts.mean,
            std=self.facts.std,
            head=self.recipe.model.head,
            **self.recipe.model.arguments,
        )
        if self.recipe.channels_last:
            network = network.to(memory_format=torch.channels_last)
        network = network.to(self.world.device)
        network.compute_dtype = torch.bfloat16 if self.recipe.precision == "bfloat16" else None
        return network

    def _monitor(self) -> dict[str, float]:
        settings = self.recipe.monitor
        if not settings.images:
            return {}
        judged = self.average.network if self.average is not None else self.network
        return measure(judged, self.dataset.test, settings, self.recipe.threat_model, self.world.device)

    def _check(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise DivergedError(
                f"The loss became {loss} at step {self.step} (learning rate {self.learning_rate():.4g}).",
                hint="Lower optimiser.learning_rate or add schedule.warmup; the last checkpoint is intact.",
            )

    def _check_same_run(self, info: CheckpointInfo) -> None:
        if info.dataset.digest != self.facts.digest:
            raise UsageError(
                f"The run in {self.directory} was trained on other data ({info.dataset.name}, digest "
                f"{info.dataset.digest}) than {self.facts.name}, digest {self.facts.digest}.",
                hint="Give the same --data-root, or another --run-dir.",
            )
        now, then = self.recipe.model_dump(mode="json"), completed(info.recipe)
        changed = sorted(key for key in now.keys() | then.keys() if now.get(key) != then.get(key))
        if changed:
            raise UsageError(
                f"The run in {self.directory} was started with another recipe: {', '.join(changed)} changed.",
                hint="Give the same recipe and --set values, or another --run-dir.",
            )


class _Clock:
    """Wall time of a run over its interruptions, and the recent pace."""

    def __init__(self, before: float, batch_size: int) -> None:
        self._origin = time.monotonic() - before
        self._batch_size = batch_size
        self._steps = 0
        self._reported = self._mark = time.monotonic()

    def tick(self) -> float:
        self._steps += 1
        return time.monotonic() - self._origin

    def due(self) -> bool:
        """Whether the last report is long enough ago for another; reading the loss waits for the device."""
        if time.monotonic() - self._reported < 0.5:
            return False
        self._reported = time.monotonic()
        return True

    def rate(self) -> float:
        """Images per second since this was last asked."""
        now = time.monotonic()
        rate = self._steps * self._batch_size / max(now - self._mark, 1e-9)
        self._mark, self._steps = now, 0
        return rate
