"""What builds images and runs containers of them: Docker, Podman, or buildah with crun.

Every container runs as tightly as its image says that it can: its root file system is read-only but for
``/tmp`` (in memory) and the image's volumes, it has no capabilities, and no process may gain any.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

_PORT = 8000


class Container(Protocol):
    """One that runs, or ran."""

    #: Where its port 8000 is reached.
    url: str

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in it."""

    def terminate(self) -> None:
        """Send SIGTERM to its first process."""

    def wait(self, seconds: float) -> int | None:
        """Its exit status, or ``None`` where it has not ended in time."""

    def logs(self) -> str:
        """What it wrote."""

    def remove(self) -> None:
        """End it, if it has not ended, and leave nothing of it."""


class Engine(Protocol):
    """Builds and runs."""

    name: str

    def build(self, context: Path, target: str, tag: str, arguments: Mapping[str, str]) -> None:
        """Build one stage of a Dockerfile."""

    def config(self, tag: str) -> dict[str, Any]:
        """An image's configuration, as Docker's format has it: ``User``, ``Env``, ``Healthcheck`` …"""

    def size(self, tag: str) -> int:
        """Bytes of an image, unpacked."""

    def start(
        self, tag: str, environment: Mapping[str, str], command: Sequence[str] = (), beside: Any = None
    ) -> Container:
        """Start a container; ``beside`` another one, it shares that one's network and volumes."""

    def remove_image(self, tag: str) -> None:
        """Forget an image."""


def find_engine(name: str = "") -> Engine:
    """The engine of this name, or the first that works here.

    Raises:
        SystemExit: There is none.
    """
    for command in [name] if name else ["docker", "podman", "buildah"]:
        if command != "buildah" and _works(command, "info"):
            return DockerEngine(command)
        if command == "buildah" and _works("buildah", "--version") and _works("crun", "--version"):
            from image_crun import BuildahEngine

            return BuildahEngine()
    raise SystemExit(f"{name or 'None'} does not work here. Docker, Podman, or buildah and crun are needed.")


def _works(*command: str) -> bool:
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def run(*command: str) -> str:
    """What a command prints; its complaints go where ours do."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout.strip()


class DockerEngine:
    """Docker, or Podman, which has the same commands."""

    def __init__(self, name: str) -> None:
        self.name = name

    def build(self, context: Path, target: str, tag: str, arguments: Mapping[str, str]) -> None:
        options = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        if self.name == "podman":
            options.append("--format=docker")  # the other one has no HEALTHCHECK
        subprocess.run(
            [self.name, "build", "--target", target, "-t", tag, *options, str(context)], check=True
        )

    def config(self, tag: str) -> dict[str, Any]:
        found = json.loads(run(self.name, "image", "inspect", tag))[0]
        config: dict[str, Any] = found["Config"]
        if "Healthcheck" in found:  # where Podman has it
            config["Healthcheck"] = found["Healthcheck"]
        return config

    def size(self, tag: str) -> int:
        return int(run(self.name, "image", "inspect", "--format", "{{.Size}}", tag))

    def start(
        self, tag: str, environment: Mapping[str, str], command: Sequence[str] = (), beside: Any = None
    ) -> Container:
        options = ["--read-only", "--tmpfs=/tmp:exec", "--cap-drop=ALL", "--security-opt=no-new-privileges"]
        options += [f"--env={key}={value}" for key, value in environment.items()]
        if beside is None:
            options.append(f"--publish=127.0.0.1::{_PORT}")
        else:
            options += [f"--network=container:{beside.id}", f"--volumes-from={beside.id}"]
        identity = run(self.name, "run", "--detach", *options, tag, *command)
        if beside is not None:
            return DockerContainer(self.name, identity, beside.url)
        address = run(self.name, "port", identity, f"{_PORT}/tcp").splitlines()[0]
        return DockerContainer(self.name, identity, f"http://{address}")

    def remove_image(self, tag: str) -> None:
        run(self.name, "image", "rm", tag)


class DockerContainer:
    """See :class:`Container`."""

    def __init__(self, engine: str, identity: str, url: str) -> None:
        self._engine, self.id, self.url = engine, identity, url

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._engine, "exec", self.id, *command], capture_output=True, text=True, check=False
        )

    def terminate(self) -> None:
        run(self._engine, "kill", "--signal=TERM", self.id)

    def wait(self, seconds: float) -> int | None:
        try:
            done = subprocess.run(
                [self._engine, "wait", self.id], capture_output=True, text=True, check=True, timeout=seconds
            )
        except subprocess.TimeoutExpired:
            return None
        return int(done.stdout)

    def logs(self) -> str:
        done = subprocess.run([self._engine, "logs", self.id], capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    def remove(self) -> None:
        command = [self._engine, "rm", "--force", "--volumes", self.id]
        subprocess.run(command, capture_output=True, check=False)
