"""Begin, follow and read campaigns of attacks on a gateway.

The gateway is the one at --server, or at HOLDFAST_URL, or on this machine.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.commands.options import written
from holdfast.commands.remote.connection import as_json, connected
from holdfast.errors import UsageError

if TYPE_CHECKING:
    from holdfast_client import Job, JobResult

app = typer.Typer(add_completion=False, no_args_is_help=True, rich_markup_mode=None)

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar="HOLDFAST_URL",
        metavar="URL",
        help="The gateway; its key is taken from HOLDFAST_API_KEY. By default http://127.0.0.1:8000.",
    ),
]
JobId = Annotated[str, typer.Argument(metavar="JOB", show_default=False, help="The job's id.")]
Json = Annotated[bool, typer.Option("--json", help="Write JSON, for other programs.")]


class LabelSource(StrEnum):
    """Whose word counts for what an image is of."""

    AUTO = "auto"
    MODEL = "model"
    FOLDER = "folder"
    FILE = "file"
    ARRAY = "array"


@app.callback()
def jobs() -> None:
    """Begin, follow and read campaigns of attacks on a gateway."""


@app.command()
def create(
    context: typer.Context,
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="IMAGE", show_default=False, help="Images, folders of them, .zip or .npz files."
        ),
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option("--model", "-m", metavar="NAME[/VERSION]", help="Repeatable.")
    ] = None,
    attacks: Annotated[
        list[str] | None,
        typer.Option("--attack", "-a", metavar="NAME", help="Repeatable. By default pgd."),
    ] = None,
    defences: Annotated[
        list[str] | None,
        typer.Option("--defence", help="Of those that the models offer; repeatable."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A parameter for every attack that has it."),
    ] = None,
    labels: Annotated[
        LabelSource,
        typer.Option(help="Whose word counts; auto: the array's where there is one, else the model's."),
    ] = LabelSource.AUTO,
    dataset: Annotated[
        str | None, typer.Option(help="A data set of the gateway, in place of images.")
    ] = None,
    first: Annotated[int, typer.Option(min=0, help="Of the data set: the first image.")] = 0,
    count: Annotated[int | None, typer.Option(min=1, help="Of the data set: how many.")] = None,
    float_images: Annotated[
        bool, typer.Option("--float", help="Keep the exact adversarial images too.")
    ] = False,
    name: Annotated[str, typer.Option(help="A note.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it is over, as follow does.")] = False,
    server: Server = None,
    json: Json = False,
) -> None:
    """Begin a job: every attack on every model behind every defence, over all images."""
    if not models:
        raise UsageError("Say which model to attack: --model NAME.", hint="'holdfast models --server' lists.")
    if dataset is None and (names := written(context, "first", "count")):
        raise UsageError(f"{names[0]} is of a data set.", hint="Say which of the gateway's: --dataset NAME.")
    parameters = dict(_setting(each) for each in settings or [])
    with connected(server) as client:
        from holdfast_client import DatasetChoice, ModelChoice

        job = client.jobs.create(
            images or None,
            models=[ModelChoice(each, defences or ["default"]) for each in models],
            attacks=attacks or ["pgd"],
            parameters=parameters,
            dataset=None if dataset is None else DatasetChoice(dataset, first, count),
            labels=labels.value,
            float_images=float_images,
            name=name,
        )
        if wait:
            _show_when_over(client, job.id, json=json)
            return
    _print_job(job, json=json)


@app.command("list")
def list_jobs(
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many at most.")] = 20,
    server: Server = None,
    json: Json = False,
) -> None:
    """List jobs, newest first."""
    from rich.markup import escape

    from holdfast.console import format_share, print_json, stdout, table

    with connected(server) as client:
        page = client.jobs.list(limit=limit)
    if json:
        print_json(as_json(page.jobs))
        return
    listing = table("job", "state", ">images", ">done", "created", "name")
    for job in page:
        created = f"{job.created:%Y-%m-%d %H:%M} UTC"
        share = format_share(job.progress.share)
        listing.add_row(job.id, job.state, f"{job.images:,}", share, created, escape(job.name))
    stdout.print(listing)


@app.command()
def show(job: JobId, server: Server = None, json: Json = False) -> None:
    """Show how a job is."""
    with connected(server) as client:
        found = client.jobs.get(job)
    _print_job(found, json=json)


@app.command()
def follow(job: JobId, server: Server = None, json: Json = False) -> None:
    """Follow a job until it is over, and show its result; the exit code says whether it succeeded."""
    with connected(server) as client:
        _show_when_over(client, job, json=json)


@app.command()
def result(
    job: JobId,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.zip", help="Write tables, figures and all images here.")
    ] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Of a job that still runs, so far.")] = False,
    server: Server = None,
    json: Json = False,
) -> None:
    """Show what a job came to, or write all of it into a zip file."""
    with connected(server) as client:
        if out is not None:
            client.jobs.download(job, out, partial=partial)
            return
        found = client.jobs.result(job, images=json, partial=partial)
    _print_result(found, json=json)


@app.command()
def cancel(job: JobId, server: Server = None, json: Json = False) -> None:
    """End a job that is not over; what it has is kept."""
    with connected(server) as client:
        found = client.jobs.cancel(job)
    _print_job(found, json=json)


@app.command()
def delete(job: JobId, server: Server = None) -> None:
    """Delete a job, with its images and its result."""
    with connected(server) as client:
        client.jobs.delete(job)


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"'{text}' is no setting.", hint="Write NAME=VALUE.")
    return name, value


def _show_when_over(client: Any, job: str, *, json: bool) -> None:
    """Wait for a job, and show what it came to.

    Raises:
        typer.Exit: It failed or was cancelled; what it has is shown all the same.
    """
    from holdfast.console import stderr

    over = _wait(client, job)
    _print_result(client.jobs.result(job, images=False), json=json)
    if over.state != "succeeded":
        words = f"Job {over.id}: {over.state}. {over.error}".strip()
        stderr.print(words, markup=False, style="red", soft_wrap=True)
        raise typer.Exit(1)


def _wait(client: Any, job: str) -> Job:
    from holdfast.console import progress

    total = client.jobs.get(job).progress.total
    with progress("Attacking", total, unit="images") as bar:
        over: Job = client.jobs.wait(
            job, progress=lambda now: bar.update(now.progress.done, note=now.note or now.state)
        )
    return over


def _print_job(job: Job, *, json: bool) -> None:
    from rich.markup import escape

    from holdfast.console import format_share, print_json, stdout, table

    if json:
        print_json(as_json(job))
        return
    how = f"{job.id}: {job.state}, {format_share(job.progress.share)} of {job.images:,} images."
    stdout.print(f"{how} {job.error}{job.note}".strip(), markup=False, style="bold", soft_wrap=True)
    listing = table("model", "defence", "attack", ">done", ">fooled", ">robust so far")
    for run in job.runs:
        robust = "" if run.robust_accuracy is None else format_share(run.robust_accuracy)
        listing.add_row(
            f"{run.model}/{run.version}",
            run.defence,
            escape(run.attack),
            f"{run.images_done:,}",
            f"{run.fooled:,}",
            robust,
        )
    stdout.print(listing)


def _print_result(result: JobResult, *, json: bool) -> None:
    from rich.markup import escape

    from holdfast.console import format_share, print_json, stdout, table

    if json:
        print_json(as_json(result))
        return
    part = "" if result.complete else f" Not complete: it is {result.state}."
    stdout.print(f"{result.images:,} images; labels: {result.labels}.{part}", style="bold", markup=False)
    listing = table("model", "defence", "attack", ">images", ">clean", ">robust", ">success")
    for run in result.runs:
        rate = run.record.totals.success_rate
        listing.add_row(
            f"{run.model}/{run.version}",
            run.defence,
            escape(run.attack),
            f"{run.images_done:,}",
            escape(str(run.clean_accuracy or "")),
            escape(str(run.robust_accuracy or "")),
            "" if rate is None else format_share(rate),
        )
    stdout.print(listing)
    for flag in [*(flag for run in result.runs for flag in run.record.flags), *result.flags]:
        stdout.print(f"Doubt: {flag.meaning}", markup=False, style="yellow", soft_wrap=True)
