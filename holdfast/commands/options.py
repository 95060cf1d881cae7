"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_STORE = Path("model_store")

StoreOption = Annotated[
    Path, typer.Option("--store", envvar="HOLDFAST_MODEL_STORE", help="The directory that holds the bundles.")
]


def written(context: typer.Context, *parameters: str) -> list[str]:
    """Those of some parameters that are on the command line, by the names of their options.

    What the environment sets is meant for every command, and is not among them.
    """
    options = {each.name: each.opts[0] for each in context.command.params}
    sources = {name: context.get_parameter_source(name) for name in parameters}
    return [
        options[name]
        for name, source in sources.items()
        if source is not None and source.name == "COMMANDLINE"
    ]
