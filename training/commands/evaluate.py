"""Measure bundles' accuracy, clean and under attack, and write it into their cards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import Devices, Processes

app = typer.Typer()


@app.command()
def evaluate(
    bundles: Annotated[
        list[str] | None,
        typer.Argument(
            help="Bundles' directories, or NAME or NAME/VERSION in the store; with --table by default all."
        ),
    ] = None,
    tables: Annotated[
        list[str] | None,
        typer.Option(
            "--table",
            help="A paper's table, ours beside theirs: fs-1, fs-3, mat, all; list shows them. Repeatable.",
        ),
    ] = None,
    list_tables: Annotated[
        bool, typer.Option("--tables", help="List the papers' tables, and what each needs.")
    ] = False,
    attacks: Annotated[
        list[str] | None,
        typer.Option(
            "--attack",
            help="clean, pgd-20, cw-100x5, apgd-t, square-1000, pgd-20,epsilon=16/255, "
            "pgd-20,from=OTHER and the like; repeatable.",
        ),
    ] = None,
    headline: Annotated[
        bool,
        typer.Option(
            "--headline", help="The attacks of the headline figure: AutoAttack's, and the adaptive ones."
        ),
    ] = False,
    defences: Annotated[
        list[str] | None,
        typer.Option("--defence", help="none, imt, imt+ or all; repeatable. [default: none]"),
    ] = None,
    epsilon: Annotated[
        str | None, typer.Option(help="Budget, e.g. 8/255; by default each bundle's own.")
    ] = None,
    norm: Annotated[str | None, typer.Option(help="linf or l2; by default each bundle's own.")] = None,
    images: Annotated[int | None, typer.Option(min=1, help="Only the first test images.")] = None,
    data: Annotated[
        str | None, typer.Option(help="Data set; by default what the model was trained on.")
    ] = None,
    data_root: Annotated[
        Path | None, typer.Option(envvar="HOLDFAST_DATA", help="Where the data sets lie; by default ./data.")
    ] = None,
    store: Annotated[Path, typer.Option(envvar="HOLDFAST_MODEL_STORE", help="The model store.")] = Path(
        "model_store"
    ),
    batch_size: Annotated[int, typer.Option(min=1, help="Images attacked at a time.")] = 100,
    processes: Processes = None,
    devices: Devices = None,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of a process; 0 for all cores.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of all that is random.")] = 0,
    save: Annotated[bool, typer.Option(help="Write the figures into the bundles and their cards.")] = True,
    ledgers: Annotated[Path, typer.Option(help="Where outcomes are kept, image by image.")] = Path(
        "runs/evaluations"
    ),
    again: Annotated[bool, typer.Option("--again", help="Measure anew what is known.")] = False,
    layout: Annotated[
        str, typer.Option("--format", help="How to print: text, markdown, csv or json.")
    ] = "text",
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    summary: Annotated[
        bool, typer.Option("--summary", help="Print bundles beside one another, a row for each.")
    ] = False,
) -> None:
    """Measure bundles' accuracy, clean and under attack.

    What is attacked is the exported model on ONNX Runtime, exactly as it is served. The worst case counts an
    image as held only if it holds under every attack. It is an upper bound on the true robust accuracy. What
    was measured is kept: an interrupted evaluation goes on where it stopped, and more images cost only those.
    """
    if list_tables or "list" in (tables or ()):
        from training.commands.table_list import list_tables as show

        show(store, json=as_json or layout == "json")
        return
    from training.commands.measuring import Request, run

    run(
        Request(
            bundles=bundles or [],
            tables=tables or [],
            attacks=attacks,
            headline=headline,
            defences=defences,
            epsilon=epsilon,
            norm=norm,
            images=images,
            data=data,
            data_root=data_root,
            store=store,
            ledgers=ledgers,
            batch_size=batch_size,
            processes=processes,
            devices=devices,
            threads=threads,
            seed=seed,
            save=save,
            again=again,
            layout="json" if as_json else layout,
            summary=summary,
        )
    )
