"""Images built by buildah and run by crun, for machines with no container engine; needs root.

Containers are on the machine's own network, and the gateway in one is given a free port of loopback.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from image_engines import Container, run

#: Seconds for a container to be gone after SIGKILL.
_PATIENCE = 30.0


class BuildahEngine:
    """See :class:`image_engines.Engine`."""

    name = "buildah"

    def build(self, context: Path, target: str, tag: str, arguments: Mapping[str, str]) -> None:
        options = [f"--build-arg={key}={value}" for key, value in arguments.items()]
        options += ["--format=docker", "--isolation=chroot", "--pull=never", "--layers"]
        subprocess.run(["buildah", "bud", "--target", target, "-t", tag, *options, str(context)], check=True)

    def config(self, tag: str) -> dict[str, Any]:
        found = json.loads(run("buildah", "inspect", "--type=image", tag))
        config: dict[str, Any] = found["Docker"]["config"]
        return config

    def size(self, tag: str) -> int:
        box = run("buildah", "from", "--pull=never", tag)
        try:
            root = Path(run("buildah", "mount", box))
            sizes = {
                (state.st_dev, state.st_ino): state.st_size
                for directory, _, names in os.walk(root)
                for state in (os.lstat(Path(directory, name)) for name in names)
            }
            return sum(sizes.values())
        finally:
            run("buildah", "rm", box)

    def start(
        self, tag: str, environment: Mapping[str, str], command: Sequence[str] = (), beside: Any = None
    ) -> Container:
        config = self.config(tag)
        variables = dict(line.split("=", 1) for line in config["Env"])
        if beside is None:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            variables |= {"HOLDFAST_HOST": "127.0.0.1", "HOLDFAST_PORT": str(port)}
            url = f"http://127.0.0.1:{port}"
        else:
            url = beside.url
        process = {
            "args": [*(config.get("Entrypoint") or ()), *(command or config.get("Cmd") or ())],
            "env": [f"{key}={value}" for key, value in (variables | dict(environment)).items()],
            "cwd": config["WorkingDir"],
            "user": config["User"],
        }
        return CrunContainer(tag, process, config.get("Volumes") or {}, url, beside)

    def remove_image(self, tag: str) -> None:
        run("buildah", "rmi", tag)


#: crun reads no cgroups of both versions at once, and is to make none: it is shown the second alone.
_CRUN = 'mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null; exec crun --cgroup-manager=disabled "$@"'


class CrunContainer:
    """See :class:`image_engines.Container`; an OCI bundle in a directory of its own."""

    def __init__(
        self,
        tag: str,
        process: dict[str, Any],
        volumes: Mapping[str, Any],
        url: str,
        beside: CrunContainer | None,
    ) -> None:
        self.url = url
        self._directory = Path(tempfile.mkdtemp(prefix="holdfast-image-"))
        self._id = self._directory.name
        self._box = run("buildah", "from", "--pull=never", tag)
        root = Path(run("buildah", "mount", self._box))
        self._user = process.pop("user")
        user, _, group = self._user.partition(":")
        self.volumes: dict[str, Path] = {} if beside is None else dict(beside.volumes)
        for path in volumes:
            if path not in self.volumes:
                self.volumes[path] = self._directory / f"volume-{len(self.volumes)}"
                self.volumes[path].mkdir()
                made = (root / path.lstrip("/")).stat()
                os.chown(self.volumes[path], made.st_uid, made.st_gid)
        subprocess.run(["crun", "spec"], cwd=self._directory, check=True)
        file = self._directory / "config.json"
        spec = json.loads(file.read_text())
        spec["root"] = {"path": str(root), "readonly": True}
        spec["process"] |= process | {
            "terminal": False,
            "noNewPrivileges": True,
            "user": {"uid": int(user), "gid": int(group)},
            "capabilities": {kind: [] for kind in spec["process"]["capabilities"]},
        }
        spec["mounts"] += [
            {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=1777"]},
            *(
                {"destination": inside, "type": "bind", "source": str(outside), "options": ["rbind", "rw"]}
                for inside, outside in self.volumes.items()
            ),
        ]
        spec["linux"]["namespaces"] = [
            each for each in spec["linux"]["namespaces"] if each["type"] != "network"
        ]
        file.write_text(json.dumps(spec))
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                self._crun("run", "--bundle", str(self._directory), self._id), stdout=log, stderr=log
            )

    def _crun(self, *arguments: str) -> list[str]:
        return ["unshare", "--mount", "sh", "-c", _CRUN, "sh", *arguments]

    def execute(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self._crun("exec", "--no-new-privs", "--user", self._user, self._id, *command),
            capture_output=True,
            text=True,
            check=False,
        )

    def terminate(self) -> None:
        # Where it has only just been started, crun does not know it yet.
        for _ in range(100):
            done = subprocess.run(self._crun("kill", self._id, "TERM"), capture_output=True, check=False)
            if done.returncode == 0:
                return
            time.sleep(0.05)
        raise SystemExit(f"crun cannot send a signal: {done.stderr.decode()}")

    def wait(self, seconds: float) -> int | None:
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def logs(self) -> str:
        return (self._directory / "log").read_text(errors="replace")

    def remove(self) -> None:
        subprocess.run(self._crun("delete", "--force", self._id), capture_output=True, check=False)
        self._process.wait(_PATIENCE)
        run("buildah", "rm", self._box)
        shutil.rmtree(self._directory)
