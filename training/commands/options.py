"""Options that several commands of training have."""

from __future__ import annotations

from typing import Annotated

import typer

from holdfast.errors import UsageError

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


def devices_of(text: str | None) -> tuple[str, ...]:
    """The devices that ``--devices`` names, none where it was not given.

    Raises:
        UsageError: One of them is nothing.
    """
    found = tuple(part.strip() for part in text.split(",")) if text is not None else ()
    if not all(found):
        raise UsageError(f"--devices is {text!r}: it names CUDA devices with commas between, e.g. 0,1.")
    return found
