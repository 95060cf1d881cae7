"""Run TorchServe on loopback with archived models."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from holdfast.console import stderr, stdout
from serving.torchserve.config import HEAP_PATTERN, LaunchSettings
from serving.torchserve.java import find_java
from serving.torchserve.launch import TorchServe, free_port
from serving.torchserve.models import ServedModel, find_archives
from serving.torchserve.supervision import supervise

app = typer.Typer()

_DEFAULTS = LaunchSettings()


def _check_heap(value: str) -> str:
    if not re.fullmatch(HEAP_PATTERN, value):
        raise typer.BadParameter(f"{value!r} is no size; write it as 512m or 2g.")
    return value


@app.command()
def torchserve(
    store: Annotated[
        Path, typer.Option(envvar="HOLDFAST_MODEL_STORE", help="The directory that holds the .mar archives.")
    ] = Path("model_store"),
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model to serve; may be repeated. [default: every archive in the store]"),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65534, help="Port for predictions; 0 takes a free one.")
    ] = _DEFAULTS.port,
    management_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65534,
            help="Port for the management API; 0 takes a free one. [default: none; a socket that only this "
            "user may use]",
        ),
    ] = None,
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65534, help="Port for Prometheus metrics; 0 takes a free one.")
    ] = _DEFAULTS.metrics_port,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=256, help="Python processes per model. [default: what the archive says]"),
    ] = None,
    attack_workers: Annotated[
        int,
        typer.Option(
            min=0,
            max=256,
            help="Python processes per model for attacks, beside those that classify; 0 leaves attacks to "
            "the gateway's own.",
        ),
    ] = _DEFAULTS.attack_workers,
    heap: Annotated[
        str,
        typer.Option(
            callback=_check_heap,
            help="Memory for Java, e.g. 512m; the models live in the workers, not there.",
        ),
    ] = _DEFAULTS.heap,
    startup_timeout: Annotated[
        float, typer.Option(min=1, help="Seconds until every model must have answered.")
    ] = _DEFAULTS.startup_timeout,
    restarts: Annotated[
        int,
        typer.Option(min=0, help="How often in a row it is started again when it ends by itself; 0: never."),
    ] = 5,
) -> None:
    """Run TorchServe in the foreground, on loopback, with the archives of a store.

    It listens on 127.0.0.1 only, checks every hash of an archive before anything of it is loaded, and
    registers no model at run time. Ctrl-C or SIGTERM ends it and every process that it started. When it ends
    by itself it is started again, after 1 s, 2 s, 4 s, and so on up to a minute.
    """
    archives = find_archives(store, model or ())
    java = find_java()
    settings = LaunchSettings(
        port=port or free_port(),
        management_port=free_port() if management_port == 0 else management_port,
        metrics_port=metrics_port or free_port(),
        workers=workers,
        attack_workers=attack_workers,
        heap=heap,
        startup_timeout=startup_timeout,
    )
    stop = _Stop()
    with TorchServe(archives, settings, java) as server:
        stderr.print(f"Starting TorchServe on Java {java.version} ({java.path}) …", soft_wrap=True)
        with stderr.status("Waiting for the first predictions …"):
            server.start()
            server.wait_ready(stop.asked)
        if not stop.asked():
            _announce(server)
        supervise(server, stop.asked, restarts=restarts, report=_report)
    stderr.print("TorchServe has stopped.")


class _Stop:
    """Takes SIGTERM and Ctrl-C as a wish to stop, instead of dying of them with Java still running."""

    def __init__(self) -> None:
        self._asked = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._ask)

    def asked(self) -> bool:
        """Whether a signal has come."""
        return self._asked

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True


def _classifying(server: TorchServe) -> list[ServedModel]:
    return [model for model in server.models if not model.attacks]


def _report(message: str) -> None:
    stderr.print(message, soft_wrap=True, markup=False, highlight=False)


def _announce(server: TorchServe) -> None:
    models = ", ".join(
        f"{model.record.name} version {model.record.version}" for model in _classifying(server)
    )
    lines = [
        f"TorchServe is ready on {server.url} and serves {models}.",
        f"Metrics: http://127.0.0.1:{server.settings.metrics_port}/metrics · log: {server.log_path}",
        f"Use it with: HOLDFAST_BACKEND=torchserve HOLDFAST_TORCHSERVE_URL={server.url} holdfast serve",
        "Ctrl-C stops it.",
    ]
    stdout.print("\n".join(lines), soft_wrap=True)
