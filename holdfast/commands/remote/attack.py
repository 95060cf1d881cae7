"""``holdfast attack --server URL``: each image is attacked by a request of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from holdfast.commands.remote.connection import as_json, connected, is_about_one_image
from holdfast.errors import UsageError
from holdfast.image_files import ImageFile, find_images

if TYPE_CHECKING:
    from holdfast.console import Progress
    from holdfast_client import AttackProgress, AttackResult


@dataclass(frozen=True)
class RemoteAttacks:
    """What is asked of the gateway.

    Attributes:
        server: Its address.
        model: ``NAME`` or ``NAME/VERSION``.
        images: Files, or folders of them.
        attacks: Which.
        defence: What is attacked through.
        label: The class of all images, if it is not what the model says of each.
        options: Parameters for every attack.
        settings: More of them, as ``[ATTACK.]NAME=VALUE``.
        out: Where to write the adversarial images and pictures of what was changed, if anywhere.
        force: Write there even if there is something already.
    """

    server: str
    model: str
    images: Sequence[Path]
    attacks: Sequence[str]
    defence: str
    label: str | None
    options: Mapping[str, str]
    settings: Sequence[str] = ()
    out: Path | None = None
    force: bool = False

    def parameters(self, attack: str) -> dict[str, Any]:
        """The parameters of an attack, as JSON has them.

        Raises:
            UsageError: A setting is none.
        """
        chosen: dict[str, Any] = {name: _value(text) for name, text in self.options.items()}
        for setting in self.settings:
            name, equals, value = setting.partition("=")
            whose, dot, parameter = name.rpartition(".")
            if not equals or not parameter:
                raise UsageError(f"'{setting}' is no setting.", hint="Write NAME=VALUE or ATTACK.NAME=VALUE.")
            if not dot or whose == attack:
                chosen[parameter] = _value(value)
        return chosen


def attack_there(asked: RemoteAttacks, *, json: bool) -> None:
    """Attack images by a gateway; one that cannot be attacked does not stop the others.

    What is wrong with all of them, such as a parameter that there is not, ends its attack.

    Raises:
        UsageError: There are no images, or a setting is none, or there is something where to write.
        HoldfastError: The gateway cannot be reached, or refuses all of them.
        typer.Exit: An image could not be attacked.
    """
    from holdfast.console import print_json, progress, stderr, stdout

    files = find_images(asked.images)
    parameters = {attack: asked.parameters(attack) for attack in asked.attacks}
    output = None
    if asked.out is not None:
        from holdfast.commands.attacking.files import OutputFolder

        output = OutputFolder.prepare(asked.out, files, force=asked.force)
    results: list[tuple[ImageFile, AttackResult]] = []
    failures: list[tuple[ImageFile, str, str]] = []
    total = len(files) * len(asked.attacks)
    with connected(asked.server) as client, progress("Attacking", total, unit="images") as bar:
        from holdfast_client import APIError, ImageInputError

        over = 0
        for attack in asked.attacks:
            for file in files:
                try:
                    result = client.attack(
                        file.path,
                        attack,
                        model=asked.model,
                        defence=asked.defence,
                        label=asked.label,
                        parameters=parameters[attack],
                        progress=partial(_show, bar, over, f"{attack}, {file}"),
                    )
                except (APIError, ImageInputError) as error:
                    of_all = not is_about_one_image(error)
                    if of_all and not results:
                        raise
                    failures.append((file, attack, str(error)))
                    if of_all:
                        break
                else:
                    results.append((file, result))
                    if output is not None:
                        picture = result.perturbation
                        output.write_pictures(
                            attack, file, result.adversarial.png, picture.png, picture.scale
                        )
                over += 1
                bar.update(over, note="")
    if json:
        print_json(
            {
                "server": asked.server,
                "results": [{"image": str(file), **as_json(result)} for file, result in results],
                "failures": [
                    {"image": str(file), "attack": attack, "error": words} for file, attack, words in failures
                ],
            }
        )
    else:
        if results:
            stdout.print(_table(results))
        for meaning in dict.fromkeys(flag.meaning for _, result in results for flag in result.flags):
            stdout.print(f"Doubt: {meaning}", markup=False, style="yellow", soft_wrap=True)
    for file, attack, words in failures:
        stderr.print(f"{file}, {attack}: {words}", markup=False, style="red", soft_wrap=True)
    if failures:
        raise typer.Exit(1)


def _show(bar: Progress, over: int, what: str, now: AttackProgress) -> None:
    """How far one attack is, after so many that are over."""
    if now.waiting:
        others = "one other" if now.waiting == 1 else f"{now.waiting} others"
        bar.update(over, note=f"{what}: waits for {others}")
    elif now.total:
        bar.update(over + now.share, note=f"{what}: {now.done:,} of {now.total:,} steps")
    else:
        bar.update(over, note=f"{what}: begins")


def _table(results: Sequence[tuple[ImageFile, AttackResult]]) -> Any:
    from rich.markup import escape

    from holdfast.console import format_share, table

    listing = table("image", "attack", "outcome", "before", "", "after", "", ">L∞", ">L2", ">queries")
    for file, result in results:
        lost = result.success and not result.survives_rounding
        listing.add_row(
            escape(str(file)),
            result.attack.name,
            "lost in 8 bits" if lost else result.outcome,
            escape(result.before.label),
            format_share(result.before.probability),
            escape(result.after.label),
            format_share(result.after.probability),
            f"{result.reached.linf:.4f}",
            f"{result.reached.l2:.3f}",
            f"{result.counts.queries:,}",
        )
    return listing


def _value(text: str) -> Any:
    """A value as the attack's schema has it: JSON where it is JSON, else text, such as 8/255 or a name."""
    import json

    try:
        return json.loads(text)
    except ValueError:
        return text
