"""Draw the papers' toy figures with the methods themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


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
