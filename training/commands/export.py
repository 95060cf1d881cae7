"""Export a trained network as a bundle: ONNX graphs, weights, manifest and card."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from holdfast.commands.options import DEFAULT_STORE, StoreOption
from holdfast.errors import UsageError

app = typer.Typer()

_OWN = "A module of your own"


@app.command()
def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A run's directory, one checkpoint in it, a bundle's directory; or package.module:build, "
            "what makes a torch module of your own.",
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(help="The model's name; by default the recipe's, or the module's.", show_default=False),
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(help="A positive integer; by default the one after the newest.", show_default=False),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    description: Annotated[str, typer.Option(help="A sentence for the card.", show_default=False)] = "",
    precision: Annotated[
        Literal["float32", "float16"],
        typer.Option(
            help="How the weights are stored; float16 halves the bundle, and is refused where rounding them "
            "costs accuracy or robustness."
        ),
    ] = "float32",
    torchscript: Annotated[
        bool,
        typer.Option(
            "--torchscript", help="Write model.pt too: what TorchServe needs of a module of your own."
        ),
    ] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace a version that is there.")] = False,
    data_root: Annotated[
        Path | None, typer.Option(envvar="HOLDFAST_DATA", help="Where the data sets lie; by default ./data.")
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="A safetensors file, or a state_dict that torch.save wrote; by default build's own.",
            rich_help_panel=_OWN,
            show_default=False,
        ),
    ] = None,
    arguments: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="What build is called with, e.g. num_classes=10; repeatable.",
            rich_help_panel=_OWN,
        ),
    ] = None,
    input_shape: Annotated[
        str | None,
        typer.Option(
            metavar="CxHxW",
            help="Which images it takes, e.g. 3x224x224; by default --data's.",
            rich_help_panel=_OWN,
        ),
    ] = None,
    normalise: Annotated[
        str | None,
        typer.Option(
            metavar="MEAN/STD",
            help="What it was trained with: a number, or one for each channel; or imagenet, or none.",
            rich_help_panel=_OWN,
        ),
    ] = None,
    input_range: Annotated[
        str | None,
        typer.Option(
            metavar="LOW..HIGH",
            help="Its images' values before they are normalised. [default: 0..1]",
            rich_help_panel=_OWN,
        ),
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(
            help="Names with commas between them, or a file with one on each line; by default --data's.",
            rich_help_panel=_OWN,
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(help="What it was trained on, in a word; by default --data.", rich_help_panel=_OWN),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Images at hand (digits, cifar10, folder:PATH, …): to compare graphs and module on, and "
            "for the temperature.",
            rich_help_panel=_OWN,
        ),
    ] = None,
    norm: Annotated[
        str | None,
        typer.Option(
            "--threat-model", metavar="NORM", help="linf or l2. [default: linf]", rich_help_panel=_OWN
        ),
    ] = None,
    epsilon: Annotated[
        str | None,
        typer.Option(help="Its budget, in image units. [default: 8/255]", rich_help_panel=_OWN),
    ] = None,
    gradient: Annotated[
        bool,
        typer.Option(
            "--gradient/--no-gradient",
            help="Without a gradient it classifies, and is attacked by scores and decisions only.",
            rich_help_panel=_OWN,
        ),
    ] = True,
) -> None:
    """Export a trained network as a bundle.

    The graphs are compared with the network on random images and on test images of the data set that it was
    trained on; if they disagree, nothing is written. A bundle is exported anew from its own weights, as the
    next version unless said otherwise. A torch module of your own gets a bundle, an endpoint and attacks,
    too: docs/own-model.md.
    """
    # Imported late: a mistyped option should not wait for torch.
    from training.import_path import is_import_path

    if is_import_path(source) and not Path(source).exists():
        from training.commands import importing
        from training.commands.import_facts import Import

        importing.run(
            Import(
                factory=source,
                arguments=arguments or (),
                weights=None if weights is None else Path(weights),
                input_shape=input_shape,
                normalise=normalise,
                input_range=input_range,
                classes=classes,
                dataset=dataset,
                data=data,
                data_root=data_root,
                norm=norm,
                epsilon=epsilon,
                gradient=gradient,
            ),
            name=name,
            version=version,
            store=store,
            description=description,
            precision=precision,
            torchscript=torchscript,
            force=force,
        )
        return
    _refuse_options_of_modules(
        {
            "--weights": weights,
            "--set": arguments,
            "--input-shape": input_shape,
            "--normalise": normalise,
            "--input-range": input_range,
            "--classes": classes,
            "--dataset": dataset,
            "--data": data,
            "--threat-model": norm,
            "--epsilon": epsilon,
            "--no-gradient": None if gradient else True,
        },
        source,
    )
    from training.commands.exporting import run

    run(
        Path(source),
        name=name,
        version=version,
        store=store,
        description=description,
        precision=precision,
        torchscript=torchscript,
        force=force,
        data_root=data_root,
    )


def _refuse_options_of_modules(given: dict[str, object], source: str) -> None:
    for option, value in given.items():
        if value is None:
            continue
        if option == "--weights" and value in ("float16", "float32"):
            raise UsageError(
                "--weights names a file.", hint=f"Say how they are stored with --precision {value}."
            )
        raise UsageError(
            f"{option} is for modules of your own, and {source} is a run or a bundle.",
            hint="Name what builds the module: holdfast export mypackage.mymodel:build",
        )
