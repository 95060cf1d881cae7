"""Measure a bundle's accuracy, clean and under attack, and write it into its card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def evaluate(
    bundle: Annotated[
        str, typer.Argument(help="A bundle's directory, or NAME or NAME/VERSION in the store.")
    ],
    attacks: Annotated[
        list[str] | None,
        typer.Option("--attack", help="clean, fgsm, pgd-STEPS, cw-STEPS, dlr-STEPS[xRESTARTS]; repeatable."),
    ] = None,
    epsilon: Annotated[
        str | None, typer.Option(help="Budget, e.g. 8/255; by default the bundle's own.")
    ] = None,
    norm: Annotated[str | None, typer.Option(help="linf or l2; by default the bundle's own.")] = None,
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
    batch_size: Annotated[int, typer.Option(min=1)] = 100,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 for all cores.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Of the random starts.")] = 0,
    save: Annotated[bool, typer.Option(help="Write the figures into the bundle and its card.")] = True,
    journals: Annotated[Path, typer.Option(help="Where an interrupted evaluation is kept.")] = Path(
        "runs/evaluations"
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a bundle's accuracy, clean and under attack.

    What is attacked is the exported model on ONNX Runtime, exactly as it is served. The worst case counts an
    image as held only if it holds under every attack. It is an upper bound on the true robust accuracy. An
    interrupted evaluation goes on where it stopped when the same command is given again.
    """
    from training.commands.measuring import Request, run

    run(
        Request(
            bundle=bundle,
            attacks=attacks,
            epsilon=epsilon,
            norm=norm,
            images=images,
            data=data,
            data_root=data_root,
            store=store,
            journals=journals,
            batch_size=batch_size,
            threads=threads,
            seed=seed,
            save=save,
            as_json=as_json,
        )
    )
