"""What ``holdfast attack`` prints."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from holdfast.attacking.cost import CostEstimate
from holdfast.attacking.record import Answer, AttackRecord, FlagRecord, ImageResult, Record
from holdfast.attacks.catalogue import find
from holdfast.attacks.description import AttackDescription, parameters_of
from holdfast.commands.attacking.files import RECORD
from holdfast.console import format_share, stderr, stdout, table
from holdfast.units import format_budget

#: More rows than these are for the record.
MOST_ROWS = 40

#: A terminal of fewer columns gets fewer of the table's.
_NARROW = 110

_NORMS = {"linf": "L∞", "l2": "L2"}
_LOST = "lost in 8 bits"
_COLOURS = {"fooled": "red", "held": "green", _LOST: "yellow"}


def print_record(record: Record, folder: Path | None) -> None:
    """Each attack with a line for each image, what they come to, and what to doubt."""
    for attack in record.attacks:
        stdout.print(_heading(record, attack), style="bold", markup=False, soft_wrap=True)
        if not attack.results:
            stdout.print("No image was finished.\n")
            continue
        stdout.print(_results(attack, with_labels=record.labels != "model"))
        if len(attack.results) > MOST_ROWS:
            stdout.print(f"… and {len(attack.results) - MOST_ROWS:,} more images.")
        stdout.print(_outcome(record, attack), soft_wrap=True)
        stdout.print(_effort(attack), soft_wrap=True)
        _print_flags(attack.flags)
        if folder is not None:
            stdout.print(_written(attack, folder), markup=False, soft_wrap=True)
        stdout.print()
    if record.flags:
        stdout.print("Over all attacks", style="bold")
        _print_flags(record.flags)
    if folder is not None:
        stdout.print(f"The record is {folder / RECORD}.", markup=False, soft_wrap=True)


def print_failures(record: Record) -> None:
    """The images that could not be used."""
    for failure in record.failures:
        stderr.print(f"{failure.image}: {failure.error}", markup=False, style="red", soft_wrap=True)
    if record.failures and record.images > 1:
        stderr.print(f"{len(record.failures)} of {record.images} images could not be attacked.")


def print_catalogue(descriptions: Sequence[AttackDescription]) -> None:
    """A line for each attack, and the papers below."""
    listing = table("attack", "asks for", "looks for", "norms", "aims", "what it does")
    for each in descriptions:
        listing.add_row(*(escape(cell) for cell in catalogue_row(each)))
    stdout.print(listing)
    stdout.print()
    papers = table("attack", "source")
    for each in descriptions:
        papers.add_row(each.name, escape(each.source))
    stdout.print(papers)
    stdout.print()
    stdout.print("Parameters of one: holdfast attack --list --attack NAME", markup=False)


def catalogue_row(description: AttackDescription) -> tuple[str, ...]:
    """Name, access, what it looks for, norms, whether it can aim at a class, and the summary."""
    return (
        description.name,
        description.access,
        "the nearest" if description.minimises else "any within ε",
        ", ".join(_NORMS[norm] for norm in description.norms),
        "yes" if description.targetable else "no",
        description.summary,
    )


def print_parameters(name: str) -> None:
    """The parameters of one attack, in words."""
    attack = find(name)
    stdout.print(f"{name}: {attack.summary}", style="bold", markup=False, soft_wrap=True)
    stdout.print(attack.source, markup=False, soft_wrap=True)
    listing = table("parameter", "may be", "default", "what it means")
    for each in parameters_of(attack.parameters):
        listing.add_row(*(escape(cell) for cell in (each.name, each.values, each.default, each.description)))
    stdout.print(listing)
    stdout.print()


def print_costs(estimates: Sequence[CostEstimate], images: int) -> None:
    """What attacks would spend at most, before any of it is spent."""
    listing = table("attack", ">forward", ">backward", ">images", ">forward in all", ">time at most")
    for each in estimates:
        listing.add_row(
            each.attack,
            f"{each.forwards:,}",
            f"{each.backwards:,}",
            f"{images:,}",
            f"{each.forwards_in_all:,}",
            _duration(each.seconds),
        )
    stdout.print(listing)
    first = estimates[0]
    stdout.print(
        f"Passes for one image at most; attacks end sooner where an image is fooled. Measured just now: "
        f"{1000 * first.seconds_per_forward:.2f} ms for a forward pass, "
        f"{1000 * first.seconds_per_gradient:.2f} ms for a forward and a backward pass of one image, in "
        f"batches of {first.batch_size}.",
        soft_wrap=True,
    )


def _heading(record: Record, attack: AttackRecord) -> str:
    budget = attack.budget
    within = "" if budget is None else f"{_NORMS[budget.norm]} within {format_budget(budget.epsilon)}"
    if attack.minimises:
        within = f"the smallest perturbation{', ' if within else ''}{within}"
    crafted = "" if record.source is None else f", crafted on {record.source.name}/{record.source.version}"
    steps = attack.parameters.get("steps")
    of = "" if steps is None else f", {steps} steps"
    mean = "" if attack.eot == 1 else f", mean of {attack.eot} answers"
    seed = f", seed {attack.parameters.get('seed', 0)}"
    behind = "" if record.model.defence == "none" else f" behind {record.model.defence}"
    model = f"{record.model.name}/{record.model.version}{behind}"
    return f"{attack.attack} on {model}: {within}{of}{mean}{seed}{crafted}"


def _results(attack: AttackRecord, *, with_labels: bool) -> Table:
    targeted = any(result.target for result in attack.results)
    narrow = stdout.width < _NARROW
    with_labels = with_labels and not narrow
    columns = ["image", *(["label"] if with_labels else []), *(["target"] if targeted else [])]
    columns += ["before", ">", "after", ">", ">L∞", *([] if narrow else [">L2", ">queries"]), "outcome"]
    shown = attack.results[:MOST_ROWS]
    rows = []
    for result, name in zip(shown, _short([result.image for result in shown]), strict=True):
        cells = [name, *([result.label] if with_labels else []), *([result.target or ""] if targeted else [])]
        cells += [*_answer(result.before), *_answer(result.after), _in_255(result.reached.linf)]
        cells += [] if narrow else [f"{result.reached.l2:.3f}", f"{result.queries:,}"]
        rows.append([*cells, _verdict(result)])
    listing = table(*columns)
    for column in listing.columns:  # where there is no room, names are cut off and numbers are not
        column.no_wrap = column.justify == "right" or column is listing.columns[-1]
    for row in rows:
        listing.add_row(*(escape(cell) for cell in row[:-1]), Text(row[-1], style=_COLOURS.get(row[-1], "")))
    return listing


def _short(paths: Sequence[str]) -> list[str]:
    """Paths without the folders that all of them are in: a narrow terminal would cut off their ends."""
    common = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])  # noqa: PTH100, PTH120
    return [os.path.relpath(path, common) for path in paths]


def _answer(answer: Answer) -> tuple[str, str]:
    return answer.label, format_share(answer.probability)


def _in_255(size: float) -> str:
    return f"{255 * size:.2f}".rstrip("0").rstrip(".") + "/255"


def _verdict(result: ImageResult) -> str:
    lost = result.outcome == "fooled" and not result.survives_rounding
    return _LOST if lost else result.outcome


def _outcome(record: Record, attack: AttackRecord) -> str:
    totals = attack.totals
    attacked = totals.fooled + totals.held
    parts = [f"{totals.fooled:,} of {attacked:,} fooled"]
    if totals.success_rate is not None:
        parts[0] += f" ({format_share(totals.success_rate)})"
    if totals.wrong_before:
        parts.append(f"{totals.wrong_before:,} wrong before the attack")
    if totals.robust_accuracy is not None:
        clean = 1 - totals.wrong_before / totals.images
        parts.append(
            f"accuracy {format_share(clean)} before and {format_share(totals.robust_accuracy)} after"
        )
    left = record.images - len(record.failures) - totals.images
    if left:
        parts.append(f"{left:,} not attacked: interrupted")
    return "; ".join(parts) + "."


def _effort(attack: AttackRecord) -> str:
    totals = attack.totals
    spent = f"{totals.forwards:,} forward and {totals.backwards:,} backward passes in {totals.seconds:.1f} s."
    if totals.median_linf is None or totals.median_l2 is None:
        return spent
    return (
        f"Median of the fooled: L∞ {_in_255(totals.median_linf)}, L2 {totals.median_l2:.3f}, "
        f"{totals.median_queries:g} queries. {spent}"
    )


def _print_flags(flags: Sequence[FlagRecord]) -> None:
    for flag in flags:
        stdout.print(f"[bold yellow]{flag.name}:[/] {escape(flag.meaning)}.", soft_wrap=True)


def _written(attack: AttackRecord, folder: Path) -> str:
    files = [result.files for result in attack.results if result.files is not None]
    scales = sorted({f"{file.perturbation_scale:.3g}" for file in files}, key=float)
    times = f"{scales[0]} times" if len(scales) == 1 else f"{scales[0]} to {scales[-1]} times"
    return (
        f"{len(files):,} images are in {folder / attack.attack / 'adversarial'}, and beside it their "
        f"perturbations, {times} larger than life."
    )


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < 100 else f"{minutes / 60:,.0f} h"
