"""Draw the papers' figures: of toy data, and over trained bundles and runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import Devices, Processes, devices_of

app = typer.Typer()

_Bundles = Annotated[
    list[str], typer.Argument(help="Bundles' directories, or NAME or NAME/VERSION in the store.")
]
_Data = Annotated[str | None, typer.Option(help="Data set; by default what the bundles were trained on.")]
_DataRoot = Annotated[
    Path | None, typer.Option(envvar="HOLDFAST_DATA", help="Where the data sets lie; by default ./data.")
]
_Store = Annotated[Path, typer.Option(envvar="HOLDFAST_MODEL_STORE", help="The model store.")]
_Epsilon = Annotated[str | None, typer.Option(help="Budget, e.g. 8/255; by default the bundles' own.")]
_Norm = Annotated[str | None, typer.Option(help="linf or l2; by default the bundles' own.")]
_Out = Annotated[Path, typer.Option(help="Where to write PNG, SVG, JSON and CSV files.")]
_Name = Annotated[str | None, typer.Option(help="The files' name, by default the figure's.")]
_Threads = Annotated[int, typer.Option(min=0, help="CPU threads of a process; 0 for all cores.")]
_Seed = Annotated[int, typer.Option(min=0, help="Of all that is random.")]

_Ledgers = Annotated[Path, typer.Option(help="Where outcomes are kept, image by image.")]

_LEDGERS = Path("runs/evaluations")
_STORE, _OUT = Path("model_store"), Path("runs/figures")


@app.callback()
def figures() -> None:
    """Draw the papers' figures."""


@app.command()
def toy(
    out: Annotated[Path, typer.Option(help="Where to write PNG and SVG files.")] = Path("docs/figures"),
    seed: Annotated[int, typer.Option(min=0, help="Of the points, the weights and the noise.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Batches that each network is trained on.")] = 1500,
) -> None:
    """Draw FS Fig. 2 and ATLD Figs. 1, 4, 6 and 7 on two-dimensional data, and check what they claim."""
    from holdfast import console
    from training.figures.toy import draw

    with console.progress("Drawing", 9, unit="steps") as bar:
        findings = draw(out, seed=seed, steps=steps, progress=lambda done, _: bar.update(done))
    table = console.table("figure", "as the paper says", "measured")
    for finding in findings:
        table.add_row(finding.figure, "yes" if finding.holds else "no", finding.measured)
    console.stdout.print(table)
    console.stderr.print(f"Wrote toy-*.png and toy-*.svg to {out}")


@app.command()
def curves(
    bundles: _Bundles,
    over: Annotated[str, typer.Option(help="epsilon or steps.")] = "epsilon",
    attacks: Annotated[
        list[str] | None,
        typer.Option("--attack", help="As in holdfast evaluate; repeatable. [default: pgd-20]"),
    ] = None,
    defences: Annotated[
        list[str] | None,
        typer.Option("--defence", help="none, imt, imt+ or all; repeatable. [default: none]"),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            help="Points of the axis, e.g. 0,4/255,8/255 or 1,10,100; by default quarters of the budget up "
            "to twice it, or 1, 2, 5, 10, 20, 40 and 100 steps."
        ),
    ] = None,
    epsilon: _Epsilon = None,
    norm: _Norm = None,
    images: Annotated[int | None, typer.Option(min=1, help="Only the first test images.")] = None,
    data: _Data = None,
    data_root: _DataRoot = None,
    store: _Store = _STORE,
    batch_size: Annotated[int, typer.Option(min=1, help="Images attacked at a time.")] = 100,
    processes: Processes = None,
    devices: Devices = None,
    threads: _Threads = 0,
    seed: _Seed = 0,
    ledgers: _Ledgers = _LEDGERS,
    out: _Out = _OUT,
    name: _Name = None,
) -> None:
    """Draw accuracy against ε or against the attack's steps (FS Fig. 3, MAT Fig. 2, ATLD Fig. 3).

    What was measured is kept beside what holdfast evaluate measures: an interrupted figure goes on where it
    stopped, and figures and tables share their measurements.
    """
    from training.commands.drawing import Subjects, draw_curves
    from training.evaluation.runner import Runner

    subjects = Subjects.of(bundles, store, data=data, root=data_root, count=images)
    runner = Runner(
        subjects.images,
        store,
        ledgers,
        batch_size=batch_size,
        processes=processes,
        threads=threads,
        devices=devices_of(devices),
    )
    draw_curves(
        subjects,
        runner,
        over=over,
        at=at,
        attacks=attacks or ["pgd-20"],
        defences=defences,
        epsilon=epsilon,
        norm=norm,
        seed=seed,
        out=out,
        name=name,
    )


@app.command()
def surface(
    bundles: _Bundles,
    image: Annotated[int, typer.Option(min=0, help="Which test image, counted from 0.")] = 0,
    side: Annotated[int, typer.Option(min=3, max=201, help="Points along each direction.")] = 31,
    epsilon: _Epsilon = None,
    norm: _Norm = None,
    data: _Data = None,
    data_root: _DataRoot = None,
    store: _Store = _STORE,
    threads: _Threads = 0,
    seed: _Seed = 0,
    out: _Out = _OUT,
    name: _Name = None,
) -> None:
    """Draw the loss around an image, along the gradient and along random signs (FS Fig. 4).

    One panel for each bundle, all on one scale, from the bundles' own graphs.
    """
    from training.commands.drawing import Subjects
    from training.commands.looking import draw_surfaces

    subjects = Subjects.of(bundles, store, data=data, root=data_root, count=image + 1)
    draw_surfaces(
        subjects,
        image=image,
        side=side,
        epsilon=epsilon,
        norm=norm,
        threads=threads,
        seed=seed,
        out=out,
        name=name,
    )


@app.command()
def features(
    bundles: _Bundles,
    images: Annotated[int, typer.Option(min=10, help="How many of the first test images.")] = 500,
    attack: Annotated[str, typer.Option(help="As in holdfast evaluate.")] = "pgd-20",
    of: Annotated[str, typer.Option(help="features (MAT Fig. 1) or logits (FS-GAN Fig. 3).")] = "features",
    epsilon: _Epsilon = None,
    norm: _Norm = None,
    data: _Data = None,
    data_root: _DataRoot = None,
    store: _Store = _STORE,
    batch_size: Annotated[int, typer.Option(min=1, help="Images attacked at a time.")] = 100,
    threads: _Threads = 0,
    seed: _Seed = 0,
    ledgers: _Ledgers = _LEDGERS,
    out: _Out = _OUT,
    name: _Name = None,
) -> None:
    """Draw t-SNE of features of clean images and of the same under attack (MAT Fig. 1, FS-GAN Fig. 3).

    Features are kept batch by batch, so that an interrupted figure goes on where it stopped.
    """
    from training.commands.drawing import Subjects
    from training.commands.looking import draw_features

    subjects = Subjects.of(bundles, store, data=data, root=data_root, count=images)
    draw_features(
        subjects,
        attack=attack,
        of=of,
        epsilon=epsilon,
        norm=norm,
        batch_size=batch_size,
        threads=threads,
        seed=seed,
        ledgers=ledgers,
        out=out,
        name=name,
    )


@app.command()
def epochs(
    runs: Annotated[list[Path], typer.Argument(help="Directories of training runs, finished or not.")],
    out: _Out = _OUT,
    name: Annotated[str, typer.Option(help="The files' name.")] = "epochs",
) -> None:
    """Draw clean and robust accuracy against epoch, as training runs logged it (the slides on FS)."""
    from training.commands.drawing import wrote
    from training.figures.epochs import draw, read

    draw([read(run) for run in dict.fromkeys(runs)], out, name)
    wrote(out, name)
