"""Make the environments in which the gateway's peers run: one each, because what they pin conflicts.

    python benchmarks/peer_environments.py            # all of them, under .venv-peers
    python benchmarks/peer_environments.py LitServe

What goes into each is pinned in ``benchmarks/peers/requirements``. All have the numpy, Pillow and ONNX
Runtime of ``constraints.txt``; Holdfast itself they take from this checkout. TorchServe runs in the
environment of the tests.
"""

from __future__ import annotations

import platform
import subprocess
import venv
from pathlib import Path
from typing import Annotated

import typer
from report import run
from serving_peers import choose
from serving_sides import APPS, ENVIRONMENTS, Peer

from holdfast.console import stderr, stdout
from holdfast.errors import HoldfastError


class PeerEnvironmentError(HoldfastError):
    """An environment cannot be made."""


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Peers. [default: all]")] = None,
    directory: Annotated[Path, typer.Option(help="Where the environments go.")] = ENVIRONMENTS,
) -> None:
    """Make the environments of the gateway's peers."""
    for peer in choose(names):
        if peer.own_environment:
            make(peer, directory)
            stdout.print(f"{peer.name} {peer.version(directory)}: {directory / peer.key}", soft_wrap=True)


def requirements(peer: Peer) -> Path:
    """The file that pins what goes into a peer's environment."""
    return APPS / "requirements" / f"{peer.key}.txt"


def make(peer: Peer, directory: Path) -> None:
    """Make a peer's environment anew, or bring one that is there up to its pins.

    Raises:
        PeerEnvironmentError: pip cannot; what it says is on the terminal.
    """
    with stderr.status(f"{peer.name}: installing …"):
        venv.create(directory / peer.key, with_pip=True)
        pip = [str(peer.python(directory)), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, "--requirement", str(requirements(peer))], check=False)
    if done.returncode != 0:
        raise PeerEnvironmentError(
            f"pip could not install {peer.name} for Python {platform.python_version()}.",
            hint=f"What it needs is in {requirements(peer)}.",
        )


if __name__ == "__main__":
    run(main)
