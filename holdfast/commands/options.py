"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_STORE = Path("model_store")

StoreOption = Annotated[
    Path, typer.Option("--store", envvar="HOLDFAST_MODEL_STORE", help="The directory that holds the bundles.")
]
