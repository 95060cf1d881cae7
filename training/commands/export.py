"""Export a trained network as a bundle: ONNX graphs, weights, manifest and card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from holdfast.commands.options import DEFAULT_STORE, StoreOption

app = typer.Typer()


@app.command()
def export(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT", help="A run's directory, one checkpoint in it, or a bundle's directory."
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="The model's name; by default the recipe's.", show_default=False)
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(help="A positive integer; by default the one after the newest.", show_default=False),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    description: Annotated[str, typer.Option(help="A sentence for the card.", show_default=False)] = "",
    weights: Annotated[
        Literal["float32", "float16"],
        typer.Option(
            help="How the weights are stored; float16 halves the bundle, and is refused where rounding them "
            "costs accuracy or robustness."
        ),
    ] = "float32",
    torchscript: Annotated[
        bool, typer.Option("--torchscript", help="Write model.pt too, for TorchServe.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a version that is there.")] = False,
    data_root: Annotated[
        Path | None, typer.Option(envvar="HOLDFAST_DATA", help="Where the data sets lie; by default ./data.")
    ] = None,
) -> None:
    """Export a trained network as a bundle.

    The graphs are compared with the network on random images and on test images of the data set that it was
    trained on; if they disagree, nothing is written. A bundle is exported anew from its own weights, as the
    next version unless said otherwise.
    """
    # Imported late: a mistyped option should not wait for torch.
    from training.commands.exporting import run

    run(
        checkpoint,
        name=name,
        version=version,
        store=store,
        description=description,
        weights=weights,
        torchscript=torchscript,
        force=force,
        data_root=data_root,
    )
