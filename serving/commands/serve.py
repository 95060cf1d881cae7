"""Serve the models of a store over HTTP."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from serving.settings import PREFIX, Settings, load_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from serving.gateway.lifecycle import Lifecycle

app = typer.Typer(add_completion=False)


def _option(setting: str, **arguments: Any) -> Any:
    """An option that overrides a setting, explained in the setting's own words."""
    field = Settings.model_fields[setting]
    variable = PREFIX + setting.upper()
    return typer.Option(help=f"{field.description} [{variable}; default: {field.default}]", **arguments)


def _list_settings(wanted: bool) -> None:
    if not wanted:
        return
    from rich.markup import escape

    from holdfast.console import stdout, table

    settings = table("variable", "default", "what it sets", title="Settings, by environment variable")
    for name, field in Settings.model_fields.items():
        cells = (PREFIX + name.upper(), str(field.default), field.description or "")
        settings.add_row(*(escape(cell) for cell in cells))
    stdout.print(settings)
    raise typer.Exit


@app.command()
def serve(
    host: Annotated[str | None, _option("host")] = None,
    port: Annotated[int | None, _option("port")] = None,
    store: Annotated[Path | None, _option("model_store")] = None,
    backend: Annotated[str | None, _option("backend")] = None,
    torchserve_url: Annotated[str | None, _option("torchserve_url")] = None,
    oip_url: Annotated[str | None, _option("oip_url")] = None,
    threads: Annotated[int | None, _option("threads")] = None,
    max_batch: Annotated[int | None, _option("max_batch")] = None,
    log_level: Annotated[str | None, _option("log_level")] = None,
    settings: Annotated[  # noqa: ARG001 - it ends the command before this function begins
        bool,
        typer.Option(
            "--settings",
            callback=_list_settings,
            is_eager=True,
            help="List every setting with its environment variable, and exit.",
        ),
    ] = False,
) -> None:
    """Serve the models of a store over HTTP, until Ctrl-C or SIGTERM.

    Every setting is an environment variable; an option here overrides it. At SIGTERM the server stops being
    ready, finishes what is in flight, and ends with status 0.
    """
    run(
        load_settings(
            host=host,
            port=port,
            model_store=store,
            backend=backend,
            torchserve_url=torchserve_url,
            oip_url=oip_url,
            threads=threads,
            max_batch=max_batch,
            log_level=log_level,
        )
    )


def run(settings: Settings) -> None:
    """Serve as the settings say, until a signal ends it.

    Raises:
        HoldfastError: The address cannot be listened on, or the models cannot be loaded.
    """
    from serving.address import bind, url_of
    from serving.commands.stopping import end_when_told
    from serving.open_files import allow_most_open_files

    end_when_told()
    allow_most_open_files()
    # Bound first: what is wrong with the address is said before anything slow begins.
    # Where a file of keys is named, the gateway does not start unless one of them is valid.
    allow_others = settings.allow_unauthenticated or settings.keys_file is not None
    listener = bind(settings.host, settings.port, allow_others=allow_others)
    with listener:
        url = url_of(listener, "http" if settings.tls_certificate is None else "https")
        from serving.gateway.app import create_app
        from serving.logs import configure_logging
        from serving.server import GatewayServer

        configure_logging(settings.log_level, settings.log_format)
        gateway = create_app(settings)
        services = gateway.state.services
        lifecycle = services.lifecycle
        announce = _announcer(lifecycle, url, playground=services.playground is not None)
        GatewayServer(gateway, settings, announce).run(sockets=[listener])
    if lifecycle.error is not None:
        raise lifecycle.error


def _announcer(lifecycle: Lifecycle, url: str, *, playground: bool) -> Callable[[], None]:
    def announce() -> None:
        """Say where the models are, once they are there."""
        backend = lifecycle.backend
        pages = f"{url} in a browser is the playground, " if playground else ""
        names = ", ".join(f"{bundle.name}/{bundle.version}" for bundle in backend.models())
        sys.stdout.write(
            f"Ready: {names} on {url} ({backend.name})\n"
            f"  curl -H 'Content-Type: image/png' --data-binary @IMAGE.png "
            f"{url}/v1/models/{lifecycle.default_model}/classify\n"
            f"  {pages}{url}/docs describes the API; Ctrl-C stops.\n"
        )
        sys.stdout.flush()

    return announce
