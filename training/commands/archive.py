"""Pack a bundle as a .mar archive for TorchServe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from holdfast.archive import WorkerSettings
from holdfast.bundle import resolve
from holdfast.console import format_size, stderr, stdout

app = typer.Typer()

_DEFAULTS = WorkerSettings()


@app.command()
def archive(
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="NAME, NAME/VERSION, or a bundle's directory.")
    ],
    store: Annotated[
        Path, typer.Option(envvar="HOLDFAST_MODEL_STORE", help="The model store that NAME is in.")
    ] = Path("model_store"),
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Directory for the archive. [default: the store]"),
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Python processes that run the model.")
    ] = _DEFAULTS.workers,
    batch_size: Annotated[
        int, typer.Option(min=1, max=1024, help="Requests that run together at most.")
    ] = _DEFAULTS.batch_size,
    batch_delay: Annotated[
        int, typer.Option(min=1, max=10_000, help="Milliseconds to wait for such requests.")
    ] = _DEFAULTS.batch_delay,
    response_timeout: Annotated[
        int, typer.Option(min=1, max=3600, help="Seconds until a silent worker is killed and started again.")
    ] = _DEFAULTS.response_timeout,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace an archive that is there.")] = False,
) -> None:
    """Pack a bundle as NAME.mar for TorchServe.

    The network is rebuilt from the bundle's weights, written as TorchScript, and compared with the bundle's
    ONNX graph before it is packed. An archive holds one version; packing another one of the same name
    replaces it, and asks for --force.
    """
    from training.archive import archive as pack

    settings = WorkerSettings(
        workers=workers, batch_size=batch_size, batch_delay=batch_delay, response_timeout=response_timeout
    )
    opened = resolve(bundle, store)
    with stderr.status("Writing TorchScript …") as status:
        path = pack(
            opened,
            store if output is None else output,
            settings=settings,
            force=force,
            progress=lambda step: status.update(f"{step} …"),
        )
    size = format_size(path.stat().st_size)
    stdout.print(f"Packed {opened.name} version {opened.version} as {path} ({size}).", soft_wrap=True)
    stdout.print(f"Serve it with: holdfast torchserve --store {path.parent}", soft_wrap=True)
