"""What pages take for granted: a checkout's examples, its models, a gateway, and one that asks for keys."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from support.gateway_process import running_gateway
from support.transcripts.terminal import Terminal

from holdfast.bundle import ModelStore, write_manifest

ROOT = Path(__file__).parents[3]

#: Where a gateway listens unless it is told otherwise, as pages have it.
PORT = 8000

#: What readers have and a checkout has not: an image of their own, which models' cards speak of.
_OWN_IMAGE = "image.png"

#: No batch here is larger, and warming up for larger ones takes seconds.
_BATCH = "2"

_SERVE = (
    r"(?P<before>(?:\w+=\S+ )*)(?:make serve|holdfast serve)(?P<options>(?: --port \d+)?)(?: *&)?(?: +#.*)?"
)
_EXPORT = r"holdfast export runs/\S+ --name (?P<name>\S+)(?: +#.*)?"


@dataclass
class Workshop:
    """One folder, and the gateways that all pages share.

    Attributes:
        folder: Where commands run; it has ``examples/`` and ``model_store/``.
        url: The gateway that asks nobody for a key, which serves ``model_store/``.
    """

    folder: Path
    url: str
    _stack: ExitStack
    _keyed: str = ""
    _models: set[Path] = field(default_factory=set)

    def terminal(self) -> Terminal:
        """A shell in which nothing has been run yet."""
        ports = {PORT: self.url}
        return Terminal(self.folder, ports, {_SERVE: self._serve, _EXPORT: self._export})

    def tidy(self) -> None:
        """Put away what a page has left: jobs, versions, routings, keys."""
        store = self.folder / "model_store"
        more = set(store.glob("*/*")) - self._models
        for path in more:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        with httpx.Client(base_url=f"http://{self.url}", timeout=30) as client:
            for _ in range(2):  # one that is not finished is cancelled first
                for job in client.get("/v1/jobs", params={"limit": 100}).json()["jobs"]:
                    client.delete(f"/v1/jobs/{job['id']}")
            if more:
                client.post("/v1/admin/reload").raise_for_status()
        (self.folder / "keys.json").unlink(missing_ok=True)

    def _serve(self, terminal: Terminal, match: re.Match[str]) -> None:
        """A gateway takes seconds to start, so all pages have the same two: one of them asks for keys."""
        port = int(match["options"].split()[-1]) if match["options"] else PORT
        terminal.run(f"export {match['before']}" if match["before"] else ":")
        if not terminal.variable("HOLDFAST_KEYS_FILE"):
            terminal.ports[port] = self.url
            return
        if self._keyed:
            time.sleep(1.1)  # it looks at its file of keys once a second
        else:
            store = self.folder.parent / "small_store"
            shutil.copytree(ROOT / "model_store" / "pgd-at-cifar10", store / "pgd-at-cifar10")
            keys = str(self.folder / terminal.variable("HOLDFAST_KEYS_FILE"))
            settings = {"HOLDFAST_KEYS_FILE": keys, "HOLDFAST_MAX_BATCH": _BATCH}
            database = f"sqlite:///{self.folder.parent}/keyed.sqlite"
            self._keyed = self._stack.enter_context(
                running_gateway(store, HOLDFAST_JOBS_DATABASE=database, **settings)
            )
        terminal.ports[port] = self._keyed.removeprefix("http://")

    def _export(self, terminal: Terminal, match: re.Match[str]) -> None:
        """An export takes torch, a finished run and minutes; here a copy of the newest is the next one."""
        del terminal
        add_version(self.folder / "model_store", match["name"])


def add_version(store: Path, name: str) -> None:
    """Put a copy of a model's newest version into its store as the next one, as an export does."""
    newest = ModelStore(store).open(name)
    version = str(int(newest.version) + 1)
    unfinished = store / name / f".{version}"
    shutil.copytree(newest.root, unfinished)
    manifest = newest.manifest.model_copy(update={"version": version})
    write_manifest(unfinished, manifest)
    unfinished.rename(store / name / version)


@contextmanager
def open_workshop(place: Path) -> Iterator[Workshop]:
    """Start a gateway in a new folder; everything is gone in the end."""
    folder = place / "checkout"
    folder.mkdir()
    shutil.copytree(ROOT / "model_store", folder / "model_store", ignore=shutil.ignore_patterns("*.mar"))
    shutil.copytree(ROOT / "examples", folder / "examples")
    shutil.copy(ROOT / "examples" / "images" / "ship.png", folder / _OWN_IMAGE)
    settings = {
        "HOLDFAST_JOBS_DATABASE": f"sqlite:///{place}/jobs.sqlite",
        "HOLDFAST_DATASETS": str(folder / "sets"),
        "HOLDFAST_MAX_BATCH": _BATCH,
    }
    with ExitStack() as stack:
        url = stack.enter_context(running_gateway(folder / "model_store", **settings))
        models = set((folder / "model_store").glob("*/*"))
        yield Workshop(folder, url.removeprefix("http://"), stack, _models=models)
