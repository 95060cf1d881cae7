"""Carry out jobs that a gateway has taken on, here and on any number of machines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from serving.settings import PREFIX, Settings, load_settings

app = typer.Typer(add_completion=False)


def _option(setting: str, **arguments: Any) -> Any:
    """An option that overrides a setting, explained in the setting's own words."""
    field = Settings.model_fields[setting]
    return typer.Option(
        help=f"{field.description} [{PREFIX}{setting.upper()}; default: {field.default}]", **arguments
    )


@app.command()
def worker(
    store: Annotated[Path | None, _option("model_store")] = None,
    jobs_database: Annotated[str | None, _option("jobs_database")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; by default all cores.", show_default=False)
    ] = None,
    log_level: Annotated[str | None, _option("log_level")] = None,
    nice: Annotated[int, typer.Option(min=0, max=19, help="Priority, from 0 to 19, the lowest.")] = 0,
    until_idle: Annotated[
        float | None,
        typer.Option(min=0.1, help="End after so many seconds without a job.", show_default=False),
    ] = None,
    with_parent: Annotated[
        bool, typer.Option("--with-parent", help="End when stdin ends, as it does with the process before.")
    ] = False,
) -> None:
    """Carry out jobs that a gateway has taken on, until Ctrl-C or SIGTERM.

    Any number of workers share the jobs of one database: on this machine with SQLite, on any number of
    machines with PostgreSQL. Each needs the models of the gateway's store. At SIGTERM a worker finishes the
    images that it is at, if that takes no longer than HOLDFAST_JOBS_DRAIN, gives them back otherwise, and
    ends with status 0.
    """
    settings = load_settings(model_store=store, jobs_database=jobs_database, log_level=log_level)
    from serving.commands.stopping import end_when_told

    end_when_told()
    from serving.backends.cores import count_cores

    cores = count_cores()
    threads = threads or (settings.jobs_threads or max(1, cores // 2) if with_parent else cores)
    # The libraries under ONNX Runtime read it when they are loaded; an idle pool of theirs is of no use here.
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    from serving.jobs.worker import Options, Worker
    from serving.logs import configure_logging

    configure_logging(settings.log_level, settings.log_format)
    Worker(settings, Options(threads, until_idle=until_idle, with_parent=with_parent, nice=nice)).run()
