"""A job's result as tables: CSV for programs, Markdown for people."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

from holdfast.attacking.record import ImageResult
from holdfast.units import format_budget
from serving.jobs.results import Reading, ResultReader
from serving.jobs.views import JobResult, RunResult, Share

#: A cell that begins so is a formula to a spreadsheet, and names of files are the caller's.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


_RUN_COLUMNS = (
    *("model", "version", "defence", "attack", "norm", "epsilon", "images"),
    *("clean_accuracy", "clean_low", "clean_high", "robust_accuracy", "robust_low", "robust_high"),
    *("success_rate", "wrong_before", "fooled", "held", "lost_by_rounding"),
    *("median_linf", "median_l2", "median_queries", "forwards", "backwards", "seconds", "flags"),
)
_IMAGE_COLUMNS = (
    *("model", "version", "defence", "attack", "image", "label", "outcome", "success", "survives_rounding"),
    *("before", "before_probability", "after", "after_probability", "linf", "l2", "queries"),
)


def runs_csv(result: JobResult) -> str:
    """One line for each run."""
    return _csv([_RUN_COLUMNS, *(_run_row(run) for run in result.runs)])


def images_csv(reading: Reading, reader: ResultReader) -> Iterator[str]:
    """One line for each image in each run, some lines at a time.

    Args:
        reading: The result.
        reader: Where the images are read from, a chunk at a time.

    Raises:
        UnknownJobError: The job has been deleted meanwhile.
    """
    yield _csv([_IMAGE_COLUMNS])
    for number, run in enumerate(reading.result.runs):
        for images in reader.images(reading, number):
            yield _csv(_image_row(run, each) for each in images)


def markdown(result: JobResult) -> str:
    """The same in a page: every run, the worst cases, and the doubts."""
    lines = [f"# {_escape(result.name or 'Job ' + result.job)}", ""]
    if not result.complete:
        lines += [f"**Incomplete**: the job is {result.state}.", ""]
    lines += [
        f"{result.images} images; labels: {result.labels}. In brackets: 95 % Wilson intervals.",
        "",
        "| model | defence | attack | budget | images | clean accuracy | robust accuracy | success rate |",
        "|---|---|---|---|---:|---:|---:|---:|",
    ]
    for run in result.runs:
        budget = run.record.budget
        within = "none" if budget is None else f"{budget.norm} {format_budget(budget.epsilon)}"
        lines.append(
            f"| {run.model}/{run.version} | {run.defence} | {run.attack} | {within} | {run.images_done} | "
            f"{_shown(run.clean_accuracy)} | {_shown(run.robust_accuracy)} | "
            f"{_percent(run.record.totals.success_rate)} |"
        )
    if result.worst_cases:
        lines += ["", "Attacks together: an image counts as fooled if any of them fooled it.", ""]
        lines += [
            "| model | defence | attacks | budget | robust accuracy | success rate |",
            "|---|---|---|---|---:|---:|",
        ]
        for case in result.worst_cases:
            lines.append(
                f"| {case.model}/{case.version} | {case.defence} | {', '.join(case.attacks)} | "
                f"{case.budget.norm} {format_budget(case.budget.epsilon)} | {_shown(case.robust_accuracy)} | "
                f"{_percent(case.success_rate)} |"
            )
    doubts = [
        f"- {run.attack} on {run.model}/{run.version} ({run.defence}): {flag.meaning}"
        for run in result.runs
        for flag in run.record.flags
    ] + [f"- {flag.meaning}" for flag in result.flags]
    if doubts:
        lines += ["", "What to doubt:", "", *doubts]
    return "\n".join([*lines, ""])


def _run_row(run: RunResult) -> Sequence[object]:
    budget, totals = run.record.budget, run.record.totals
    return (
        run.model,
        run.version,
        run.defence,
        run.attack,
        None if budget is None else budget.norm,
        None if budget is None else budget.epsilon,
        run.images_done,
        *_bounds(run.clean_accuracy),
        *_bounds(run.robust_accuracy),
        totals.success_rate,
        totals.wrong_before,
        totals.fooled,
        totals.held,
        totals.lost_by_rounding,
        totals.median_linf,
        totals.median_l2,
        totals.median_queries,
        totals.forwards,
        totals.backwards,
        totals.seconds,
        " ".join(flag.name for flag in run.record.flags),
    )


def _image_row(run: RunResult, each: ImageResult) -> Sequence[object]:
    return (
        run.model,
        run.version,
        run.defence,
        run.attack,
        each.image,
        each.label,
        each.outcome,
        each.success,
        each.survives_rounding,
        each.before.label,
        each.before.probability,
        each.after.label,
        each.after.probability,
        each.reached.linf,
        each.reached.l2,
        each.queries,
    )


def _bounds(share: Share | None) -> tuple[float | None, ...]:
    return (None, None, None) if share is None else (share.value, *share.interval)


def _csv(rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    for row in rows:
        writer.writerow([_cell(value) for value in row])
    return buffer.getvalue()


def _cell(value: object) -> object:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


def _shown(share: Share | None) -> str:
    if share is None:
        return "–"
    low, high = share.interval
    return f"{share.value:.1%} [{low:.1%}, {high:.1%}]".replace("%", " %")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}".replace("%", " %")


def _escape(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\`*_{}[]<>#|" else c for c in text if c.isprintable())
