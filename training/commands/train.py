"""Train a model from a recipe; an interrupted run goes on where it stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def train(
    recipe: Annotated[
        str | None, typer.Argument(help="A shipped recipe's name or a YAML file; --list shows the names.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a value of the recipe.")
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run-dir", help="The run's directory; by default runs/<recipe>.")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(envvar="HOLDFAST_DATA", help="Where the data sets lie; by default ./data.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch the data set if it is missing.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; by default torch's choice.")
    ] = None,
    save_every: Annotated[
        float, typer.Option(min=1, help="Seconds between checkpoints inside an epoch.")
    ] = 300,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget the run's checkpoints, start anew.")
    ] = False,
    list_methods: Annotated[
        bool, typer.Option("--list", help="List the methods, their papers and their recipes, and stop.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="With --list: write JSON, for other programs.")
    ] = False,
) -> None:
    """Train a model from a recipe.

    Several processes: torchrun --nproc-per-node N -m holdfast train RECIPE ...

    A run that was stopped, by Ctrl-C, SIGTERM or a crash, goes on when the same command is given again. On
    Ctrl-C and SIGTERM it finishes its step, saves itself and exits with 130 or 143.
    """
    if json and not list_methods:
        raise typer.BadParameter("only --list writes JSON", param_hint="--json")
    if recipe is None and not list_methods:
        raise typer.BadParameter("name a recipe, or give --list to see those there are", param_hint="RECIPE")
    # Imported late: a mistyped option should not wait for torch.
    if recipe is None or list_methods:
        from training.commands import listing

        listing.list_methods(json=json)
        return
    from training.commands.running import run_recipe

    code = run_recipe(
        recipe,
        overrides or [],
        run=run,
        data_root=data_root,
        download=download,
        device=device,
        threads=threads,
        save_every=save_every,
        restart=restart,
    )
    raise typer.Exit(code)
