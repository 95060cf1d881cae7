"""Options that several commands of training have."""

from __future__ import annotations

from typing import Annotated

import typer

Processes = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Processes that share the work; give each --threads 1 on a CPU. By default one, or one for "
        "each of --devices.",
    ),
]
Devices = Annotated[
    str | None, typer.Option(help="CUDA devices that the processes are spread over, e.g. 0,1.")
]
