"""``holdfast models --server URL``."""

from __future__ import annotations

import sys

from holdfast.commands.remote.connection import as_json, connected


def list_there(server: str, *, json: bool) -> None:
    """List the models that a gateway serves.

    Raises:
        HoldfastError: It cannot be reached, or refuses.
    """
    from rich.markup import escape

    from holdfast.console import print_json, stdout, table

    with connected(server) as client:
        models = client.models.list()
    if json:
        print_json(as_json(models))
        return
    listing = table("name", "versions", ">default", "dataset", ">classes", "defences")
    for model in models:
        listing.add_row(
            escape(model.name),
            ", ".join(model.versions),
            model.default,
            escape(model.dataset),
            str(model.classes),
            ", ".join(model.defences),
        )
    stdout.print(listing)


def show_there(server: str, name: str, *, json: bool) -> None:
    """Show the card of a model that a gateway serves.

    Raises:
        HoldfastError: It cannot be reached, or refuses.
    """
    from holdfast.console import print_json, stdout

    with connected(server) as client:
        model = client.models.get(name)
    if json:
        print_json(as_json(model))
    elif stdout.is_terminal:
        from rich.markdown import Markdown

        stdout.print(Markdown(model.card))
    else:
        sys.stdout.write(model.card if model.card.endswith("\n") else model.card + "\n")
