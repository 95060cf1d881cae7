"""Choose which version of a model answers: a default, a split for a canary, a rollback.

It is written into the store; a running gateway takes it at SIGHUP or at POST /v1/admin/reload.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from holdfast.bundle import ModelStore
from holdfast.commands.options import DEFAULT_STORE, StoreOption
from holdfast.errors import UsageError

if TYPE_CHECKING:
    from holdfast.routing import Routing

app = typer.Typer(add_completion=False)


@app.command()
def route(
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False, help="The model.")],
    to: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VERSION[=WEIGHT]",
            help="This version answers, with this share of the weights; repeatable.",
        ),
    ] = None,
    rollback: Annotated[bool, typer.Option("--rollback", help="Return to what was before.")] = False,
    newest: Annotated[
        bool, typer.Option("--newest", help="Let the newest version answer, whichever that is.")
    ] = False,
    store: StoreOption = DEFAULT_STORE,
    json: Annotated[bool, typer.Option("--json", help="Write JSON, for other programs.")] = False,
) -> None:
    """Show or set which version of a model answers where a request names none.

    --to 1=95 --to 2=5 sends one request in twenty to version 2. --to 2 makes it the default. --rollback
    undoes the last change.
    """
    from holdfast.routing import clear, read_routing, roll_back, set_weights

    if sum((bool(to), rollback, newest)) > 1:
        raise UsageError("Give one of --to, --rollback and --newest.")
    models = ModelStore(store)
    if to:
        set_weights(models, name, _read(to))
    elif rollback:
        roll_back(models, name)
    elif newest:
        clear(models, name)
    versions = models.versions(name)
    _show(name, versions, read_routing(models, name), json=json)


def _read(texts: list[str]) -> dict[str, int]:
    weights: dict[str, int] = {}
    for text in texts:
        version, equals, weight = text.partition("=")
        if not version.isascii() or not version.isdigit() or (equals and not weight.isdecimal()):
            raise UsageError(f"--to {text!r} is no version and weight.", hint="Write --to 2, or --to 2=10.")
        if version in weights:
            raise UsageError(f"Version {version} is named twice.")
        weights[version] = int(weight) if equals else 1
    return weights


def _show(name: str, versions: list[str], routing: Routing | None, *, json: bool) -> None:
    from holdfast.console import format_share, print_json, stdout, table

    weights = {versions[-1]: 1} if routing is None else routing.weights
    whole = sum(weights.values())
    shares = {version: weights.get(version, 0) / whole for version in versions}
    if json:
        print_json(
            {
                "model": name,
                "shares": shares,
                "previous": None if routing is None else routing.previous,
                "changed": None if routing is None else routing.changed.isoformat(),
            }
        )
        return
    listing = table("version", f">share of the requests for {name} that name none")
    for version, share in shares.items():
        listing.add_row(version, format_share(share))
    stdout.print(listing)
