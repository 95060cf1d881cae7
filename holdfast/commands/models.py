"""List the models in the store, or show one with its card.

``--verify`` compares every file with the hash in its bundle's manifest.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from holdfast.bundle import CARD, MANIFEST, Bundle, BundleError, ModelStore, resolve
from holdfast.commands.options import DEFAULT_STORE, StoreOption, written
from holdfast.commands.remote.connection import ServerOption
from holdfast.errors import UsageError
from holdfast.figures import clean_figure, doubts, robust_figure
from holdfast.manifest import Figure
from holdfast.units import format_budget

app = typer.Typer(add_completion=False)


@app.command()
def models(
    context: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME[/VERSION]]", help="The model whose card to show, or a bundle's directory."
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare every file with its hash, and fail if one has changed.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write JSON, for other programs.")] = False,
    server: ServerOption = None,
) -> None:
    """List the models in the store with their figures, or show one model's whole card.

    Robust accuracy is the lowest that was measured under attack within the model's own threat model. With
    --server, the models are those that a gateway serves.
    """
    if server is not None:
        from holdfast.commands.remote.models import list_there, show_there

        if names := written(context, "store", "verify"):
            raise UsageError(f"{names[0]} is about files here, and a gateway's are elsewhere.")
        if name is None:
            list_there(server, json=json)
        else:
            show_there(server, name, json=json)
        return
    if name is not None:
        _show(resolve(name, store), verified=verify, json=json)
        return
    found = _survey(ModelStore(store), verify=verify)
    _list(found, store, verified=verify, json=json)
    if any(isinstance(entry.bundle, BundleError) for entry in found):
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Entry:
    """A place in the store, with the bundle in it or what is wrong with it."""

    name: str
    version: str
    bundle: Bundle | BundleError


def _survey(store: ModelStore, *, verify: bool) -> list[_Entry]:
    from holdfast.console import progress

    places = [(name, version) for name in store.names() for version in store.versions(name)]
    entries = []
    with progress("Verifying", len(places), unit="bundles", quiet=not verify) as bar:
        for name, version in places:
            try:
                bundle: Bundle | BundleError = store.open(name, version, verify=verify)
            except BundleError as error:
                bundle = error
            entries.append(_Entry(name, version, bundle))
            bar.advance()
    return entries


def _list(found: list[_Entry], store: Path, *, verified: bool, json: bool) -> None:
    from rich.markup import escape

    from holdfast.console import format_size, print_json, stderr, stdout, table

    if json:
        print_json([_summary(entry, verified=verified) for entry in found])
        return
    if not found:
        stderr.print(f"The model store {store} has no models.", markup=False, soft_wrap=True)
        return
    columns = ["name", ">version", "method", "dataset", ">clean", ">robust", "under", ">size"]
    listing = table(*columns, *(["files"] if verified else []))
    for entry in found:
        if isinstance(entry.bundle, BundleError):
            listing.add_row(
                entry.name, entry.version, *[""] * 6, *(["damaged"] if verified else []), style="red"
            )
            continue
        manifest = entry.bundle.manifest
        clean, robust = clean_figure(manifest), robust_figure(manifest)
        listing.add_row(
            entry.name,
            entry.version,
            escape(manifest.method),
            escape(manifest.dataset.name),
            _accuracy(clean),
            _accuracy(robust),
            escape(_attack(robust)) + (" (unreliable)" if robust and doubts(manifest) else ""),
            format_size(_size(entry.bundle)),
            *(["ok"] if verified else []),
        )
    stdout.print(listing)
    for entry in found:
        if isinstance(entry.bundle, BundleError):
            stderr.print(
                f"{entry.name} version {entry.version}: {entry.bundle}", markup=False, soft_wrap=True
            )
            if entry.bundle.hint:
                stderr.print(f"  {entry.bundle.hint}", markup=False, soft_wrap=True)


def _show(bundle: Bundle, *, verified: bool, json: bool) -> None:
    import sys

    from holdfast.console import stderr, stdout

    if json:
        sys.stdout.write(bundle.manifest.to_json())
        return
    card = bundle.path(CARD).read_text(encoding="utf-8")
    if stdout.is_terminal:
        from rich.markdown import Markdown

        stdout.print(Markdown(card))
    else:
        sys.stdout.write(card if card.endswith("\n") else card + "\n")
    if verified:
        stderr.print(f"All {len(bundle.manifest.files)} files are those that {MANIFEST} lists: ok.")


def _summary(entry: _Entry, *, verified: bool) -> dict[str, Any]:
    place = {"name": entry.name, "version": entry.version}
    if isinstance(entry.bundle, BundleError):
        return {**place, "error": entry.bundle.message}
    manifest = entry.bundle.manifest
    clean, robust = clean_figure(manifest), robust_figure(manifest)
    return {
        **place,
        "method": manifest.method,
        "dataset": manifest.dataset.name,
        "classes": manifest.classes,
        "input": manifest.input.model_dump(),
        "defences": manifest.defences,
        "clean": clean and clean.model_dump(mode="json"),
        "robust": robust and robust.model_dump(mode="json"),
        "unreliable": doubts(manifest),
        "bytes": _size(entry.bundle),
        "directory": str(entry.bundle.root),
        "verified": verified,
    }


def _accuracy(figure: Figure | None) -> str:
    from holdfast.console import format_share

    return "" if figure is None else format_share(figure.accuracy)


def _attack(figure: Figure | None) -> str:
    if figure is None:
        return ""
    threat = figure.threat_model
    return figure.name if threat is None else f"{figure.name}, {threat.norm} {format_budget(threat.epsilon)}"


def _size(bundle: Bundle) -> int:
    return (
        sum(entry.size for entry in bundle.manifest.files.values()) + (bundle.root / MANIFEST).stat().st_size
    )
