"""Attack a model with images of your own, on this machine and without a server.

The attacks run on the bundle's ONNX graphs: what is attacked is what is served, and torch is not needed.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from holdfast.commands.options import DEFAULT_STORE, StoreOption, written
from holdfast.commands.remote.connection import ServerOption
from holdfast.errors import UsageError

if TYPE_CHECKING:
    from holdfast.commands.attacking.plan import Plan

app = typer.Typer(add_completion=False)

#: As of a shell's command that Ctrl-C ended.
EXIT_INTERRUPTED = 130


class LabelsFrom(StrEnum):
    """Whose name says what an image is of."""

    FOLDER = "folder"
    FILE = "file"


_ATTACK, _IMAGES, _RESULTS, _INSTEAD = "The attack", "The images", "The results", "In place of an attack"


def _option(words: str, *names: str, panel: str, **arguments: Any) -> Any:
    """An option, explained in one of the parts of the help."""
    return typer.Option(*names, help=words, rich_help_panel=panel, **arguments)


def _print_schema(name: str | None) -> None:
    if name is None:
        return
    from holdfast.attacks.catalogue import find
    from holdfast.console import print_json

    print_json(find(name).parameters.model_json_schema())
    raise typer.Exit


#: Parameters of what is done on this machine, which mean nothing to a gateway.
_ONLY_HERE = (
    "transfer_from",
    "eot",
    "labels_from",
    "float_images",
    "cost",
    "store",
    "batch_size",
    "threads",
)


@app.command()
def attack(
    context: typer.Context,
    bundle: Annotated[
        str | None,
        typer.Argument(
            metavar="BUNDLE",
            show_default=False,
            help="A bundle's directory, or NAME or NAME/VERSION in the store.",
        ),
    ] = None,
    images: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="IMAGE", show_default=False, help="PNG, JPEG or WebP files, or folders of them."
        ),
    ] = None,
    attacks: Annotated[
        list[str] | None,
        _option("Which attack; repeatable. By default pgd.", "--attack", "-a", panel=_ATTACK, metavar="NAME"),
    ] = None,
    epsilon: Annotated[
        str | None,
        _option("The budget in image units, such as 8/255. By default the model's own.", panel=_ATTACK),
    ] = None,
    norm: Annotated[str | None, _option("linf or l2. By default the model's own.", panel=_ATTACK)] = None,
    steps: Annotated[str | None, _option("Steps, of an attack that takes steps.", panel=_ATTACK)] = None,
    target: Annotated[
        str | None,
        _option("The class to reach: its name or number, least-likely, or random.", panel=_ATTACK),
    ] = None,
    seed: Annotated[str | None, _option("Of all that is random. By default 0.", panel=_ATTACK)] = None,
    eot: Annotated[
        str | None,
        _option(
            "For a model that answers at random: craft on the mean of so many answers. By default 1.",
            panel=_ATTACK,
            metavar="N",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        _option(
            "Any parameter that --list --attack NAME shows, for every attack that has it or for one; "
            "repeatable.",
            "--set",
            panel=_ATTACK,
            metavar="[ATTACK.]NAME=VALUE",
        ),
    ] = None,
    defence: Annotated[
        str,
        _option(
            "A defence at inference that the model offers, such as imt+; attacked through it.", panel=_ATTACK
        ),
    ] = "none",
    transfer_from: Annotated[
        str | None,
        _option("Craft the images on this model; BUNDLE only judges them.", panel=_ATTACK, metavar="BUNDLE"),
    ] = None,
    label: Annotated[
        str | None,
        _option(
            "The class of all images, by name or number. By default what the model says of each.",
            panel=_IMAGES,
        ),
    ] = None,
    labels_from: Annotated[
        LabelsFrom | None,
        _option("Take each image's class from the name of its folder, or of its file.", panel=_IMAGES),
    ] = None,
    out: Annotated[
        Path | None,
        _option(
            "Write the images, their perturbations and, without --server, the record here.",
            panel=_RESULTS,
            metavar="DIR",
        ),
    ] = None,
    float_images: Annotated[
        bool, _option("Write the exact float images too, as .npy.", "--float", panel=_RESULTS)
    ] = False,
    force: Annotated[
        bool, _option("Write into DIR even if it is not empty.", "--force", panel=_RESULTS)
    ] = False,
    json: Annotated[bool, _option("Write JSON, for other programs.", "--json", panel=_RESULTS)] = False,
    cost: Annotated[
        bool, _option("Say what it would cost at most, and attack nothing.", "--cost", panel=_INSTEAD)
    ] = False,
    listing: Annotated[
        bool,
        _option("List the attacks, or the parameters of those that are named.", "--list", panel=_INSTEAD),
    ] = False,
    schema: Annotated[  # noqa: ARG001 - it ends the command before this function begins
        str | None,
        _option(
            "Write the JSON Schema of an attack's parameters.",
            panel=_INSTEAD,
            metavar="NAME",
            callback=_print_schema,
            is_eager=True,
        ),
    ] = None,
    store: StoreOption = DEFAULT_STORE,
    batch_size: Annotated[int, typer.Option(min=1, help="Images worked on at a time.")] = 32,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 for all cores.")] = 0,
    server: ServerOption = None,
) -> None:
    """Attack a model with images of your own: adversarial PNGs, pictures of what was changed, and a record.

    An image that cannot be used does not stop the others: it is reported, and the exit code is 1 in the end.
    Ctrl-C stops between two calls of the model and keeps what is finished; the exit code is then 130.

    With --server, BUNDLE is a model of that gateway, and each attack on each image is a request to it.
    """
    if listing:
        if server is not None:
            raise UsageError(
                "--list is about the attacks of this Holdfast.", hint=f"A gateway's: curl {server}/v1/attacks"
            )
        _list(attacks, json=json)
        return
    if bundle is None or not images:
        raise UsageError(
            "Say what to attack, and with which images: holdfast attack BUNDLE IMAGE…",
            hint="'holdfast models' lists the bundles, 'holdfast attack --list' the attacks.",
        )
    named = {"epsilon": epsilon, "norm": norm, "steps": steps, "seed": seed, "target": target}
    options = {name: value for name, value in named.items() if value is not None}
    if server is not None:
        _refuse_with_server(written(context, *_ONLY_HERE))
        from holdfast.commands.remote.attack import RemoteAttacks, attack_there

        asked = RemoteAttacks(
            server=server,
            model=bundle,
            images=images,
            attacks=attacks or ["pgd"],
            defence=defence,
            label=label,
            options=options,
            settings=settings or [],
            out=out,
            force=force,
        )
        attack_there(asked, json=json)
        return
    from holdfast.commands.attacking.plan import Request, make_plan

    plan = make_plan(
        Request(
            bundle=bundle,
            defence=defence,
            images=images,
            attacks=attacks or ["pgd"],
            options=options,
            settings=settings or [],
            eot=eot,
            transfer_from=transfer_from,
            label=label,
            labels_from=None if labels_from is None else labels_from.value,
            store=store,
            batch_size=batch_size,
            threads=threads,
        )
    )
    if cost:
        _cost(plan, json=json)
        return
    _attack(plan, out, float_images=float_images, force=force, json=json)


def _refuse_with_server(given: list[str]) -> None:
    if given:
        raise UsageError(
            f"{given[0]} is for attacks on this machine, not for a gateway's.",
            hint="'holdfast jobs create' begins attacks on many images, with labels of their own.",
        )


def _list(names: list[str] | None, *, json: bool) -> None:
    from holdfast.attacks.catalogue import catalogue, find
    from holdfast.attacks.description import describe
    from holdfast.commands.attacking.tables import print_catalogue, print_parameters
    from holdfast.console import print_json

    descriptions = [describe(find(name)) for name in names or catalogue()]
    if json:
        print_json([description.model_dump(mode="json") for description in descriptions])
    elif names:
        for name in names:
            print_parameters(name)
    else:
        print_catalogue(descriptions)


def _cost(plan: Plan, *, json: bool) -> None:
    from holdfast.commands.attacking.run import estimate_costs
    from holdfast.commands.attacking.tables import print_costs
    from holdfast.console import print_json

    estimates = estimate_costs(plan)
    if json:
        print_json({"images": len(plan.files), "attacks": [each.as_json() for each in estimates]})
    else:
        print_costs(estimates, len(plan.files))


def _attack(plan: Plan, out: Path | None, *, float_images: bool, force: bool, json: bool) -> None:
    from holdfast.commands.attacking.files import OutputFolder
    from holdfast.commands.attacking.run import carry_out
    from holdfast.commands.attacking.tables import print_failures, print_record
    from holdfast.console import print_json, stderr

    if out is None and (float_images or force):
        raise UsageError("--float and --force are about what is written.", hint="Say where with --out DIR.")
    output = None
    if out is not None:
        output = OutputFolder.prepare(out, plan.files, float_images=float_images, force=force)
    record = carry_out(plan, output)
    if json:
        print_json(record.model_dump(mode="json"))
    else:
        print_record(record, out)
    print_failures(record)
    if not record.complete:
        stderr.print("Interrupted; what was finished is kept.", style="bold yellow")
        raise typer.Exit(EXIT_INTERRUPTED)
    if record.failures:
        raise typer.Exit(1)
