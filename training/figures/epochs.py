"""Clean and robust accuracy against epoch, as training runs logged it (the slides on Feature Scattering)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from holdfast.errors import UsageError
from holdfast.interval import wilson
from training import checkpoint
from training.figures import style
from training.figures.words import budget
from training.recipe import Recipe, StepSchedule


@dataclass(frozen=True)
class Epoch:
    """What was measured after one epoch.

    Attributes:
        epoch: From 1.
        loss: Of its last batch; None where the run was interrupted right after it.
        clean: Accuracy, with its 95 % interval.
        robust: The same under PGD; None where the recipe has none.
    """

    epoch: int
    loss: float | None
    clean: tuple[float, float, float]
    robust: tuple[float, float, float] | None


@dataclass(frozen=True)
class Run:
    """One training run.

    Attributes:
        name: The directory's.
        method: The recipe's method.
        dataset: Trained and measured on.
        images: The first test images that accuracy is of.
        steps: Of the PGD.
        norm: Of its budget.
        epsilon: Of the same.
        drops: After how many epochs the learning rate drops.
        planned: The recipe's epochs.
        epochs: Those that are done.
    """

    name: str
    method: str
    dataset: str
    images: int
    steps: int
    norm: str
    epsilon: float
    drops: list[float]
    planned: int
    epochs: list[Epoch]


@dataclass(frozen=True)
class Runs:
    """All that one figure shows."""

    runs: list[Run]


def read(directory: Path) -> Run:
    """What a run has logged so far; it may still be going on.

    Args:
        directory: Of the run, or of one of its checkpoints.

    Raises:
        UsageError: There is no checkpoint, no whole epoch, or nothing was measured after epochs.
        CheckpointError: The checkpoint is damaged.
    """
    newest = checkpoint.latest(directory)
    if newest is None:
        raise UsageError(
            f"{directory} holds no training run: there is no checkpoint in it.",
            hint="Name the --run-dir of holdfast train, e.g. runs/fs-cifar10.",
        )
    info = checkpoint.read_info(newest)
    try:
        recipe = Recipe.model_validate(info.recipe)
    except ValidationError:
        raise UsageError(
            f"The run in {directory} was made by another Holdfast, whose recipe this one cannot read.",
            hint="Draw it with the Holdfast that trained it.",
        ) from None
    if not info.history:
        raise UsageError(
            f"The run in {directory} has not finished an epoch yet: nothing was measured.",
            hint="Wait for its first epoch to end.",
        )
    if "clean" not in info.history[-1]:
        raise UsageError(
            f"The run in {directory} measured no accuracy: its recipe's monitor.images is 0.",
            hint="Train with monitor.images above 0, e.g. --set monitor.images=512.",
        )
    images, attack = recipe.monitor.images, f"pgd{recipe.monitor.steps}"
    run = directory if newest != directory else directory.parent.parent
    return Run(
        name=run.resolve().name,
        method=recipe.method["name"],
        dataset=info.dataset.name,
        images=images,
        steps=recipe.monitor.steps,
        norm=recipe.threat_model.norm,
        epsilon=recipe.threat_model.epsilon,
        drops=list(recipe.schedule.milestones) if isinstance(recipe.schedule, StepSchedule) else [],
        planned=recipe.epochs,
        epochs=[
            Epoch(
                int(entry["epoch"]),
                entry.get("loss"),
                _with_interval(entry["clean"], images),
                _with_interval(entry[attack], images) if attack in entry else None,
            )
            for entry in info.history
        ],
    )


def _with_interval(share: float, images: int) -> tuple[float, float, float]:
    low, high = wilson(round(share * images), images)
    return share, low, high


def draw(runs: Sequence[Run], directory: Path, name: str) -> None:
    """Write the figure and its numbers as NAME.png, .svg, .json and .csv."""
    from matplotlib.lines import Line2D
    from matplotlib.ticker import MaxNLocator

    figure, axis = style.new_figure(figsize=(7.6, 4.3))
    robust_look, clean_look, drop_look = style.dashes(3)
    handles = []
    for index, run in enumerate(runs):
        colour = style.COLOURS[index % len(style.COLOURS)]
        for what, dashes in (("clean", clean_look), ("robust", robust_look)):
            found = [(entry.epoch, getattr(entry, what)) for entry in run.epochs if getattr(entry, what)]
            at = [epoch for epoch, _ in found]
            shares, low, high = ([100 * values[k] for _, values in found] for k in range(3))
            axis.fill_between(at, low, high, color=colour, alpha=0.1, linewidth=0)
            marker = "." if len(at) < 30 else ""
            axis.plot(at, shares, color=colour, linestyle=dashes, linewidth=1.5, marker=marker)
        handles.append(Line2D([], [], color=colour, linewidth=3, label=run.name))
    drops = sorted({drop for run in runs for drop in run.drops if drop < max(e.epoch for e in run.epochs)})
    for drop in drops:
        axis.axvline(drop, color=style.INK, linewidth=0.8, linestyle=drop_look)
    looks = [("under attack", robust_look)] if any(run.epochs[-1].robust for run in runs) else []
    for label, dashes in [*looks, ("clean", clean_look)]:
        handles.append(Line2D([], [], color=style.INK, linestyle=dashes, linewidth=1.5, label=label))
    if drops:
        label = "learning rate drops"
        handles.append(Line2D([], [], color=style.INK, linestyle=drop_look, linewidth=0.8, label=label))
    axis.set(xlabel="Epoch", ylabel="Accuracy (%), with 95 % intervals", ylim=(0, 100))
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    style.plain(axis)
    figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=9, handlelength=3.2)
    axis.set_title(_title(runs), loc="left", fontsize=10)
    style.save(figure, directory, name)
    style.save_numbers(directory, name, Runs(list(runs)), _table(runs))


def _title(runs: Sequence[Run]) -> str:
    """What was measured on which images: a line for each kind of run."""
    found = []
    for run in runs:
        under = f", PGD-{run.steps} within {budget(run.norm, run.epsilon)}" if run.epochs[-1].robust else ""
        found.append(f"{run.dataset}: first {run.images:,} test images{under}")
    return "\n".join(["Accuracy while training", *dict.fromkeys(found)])


def _table(runs: Sequence[Run]) -> style.Table:
    columns = ("run", "method", "epoch", "loss", "clean", "clean_low", "clean_high")
    rows: list[tuple[object, ...]] = []
    for run in runs:
        for each in run.epochs:
            robust = each.robust or ("", "", "")
            rows.append((run.name, run.method, each.epoch, each.loss, *each.clean, *robust, run.images))
    return style.Table((*columns, "robust", "robust_low", "robust_high", "images"), rows)
