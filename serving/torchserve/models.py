"""The models that TorchServe is given: from archives to directories that it may trust."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.archive import (
    HANDLER,
    SETTINGS,
    ArchiveError,
    ArchiveRecord,
    WorkerSettings,
    read_archive,
    unpack,
)
from holdfast.attacking.remote import SUFFIX
from holdfast.bundle import read_manifest
from holdfast.errors import UsageError
from holdfast.manifest import Manifest

#: What every worker runs, whatever handler an archive brings: an archive's own may be older than this
#: Holdfast, or not Holdfast's at all.
_HANDLER = Path(__file__).with_name(HANDLER)

#: Seconds until TorchServe kills a worker that is still at an attack: more than any may have.
_ATTACK_PATIENCE = 3700


@dataclass(frozen=True)
class ServedModel:
    """A model that TorchServe was told to serve.

    Attributes:
        record: What its archive was made of.
        manifest: Its bundle's.
        workers: The processes that run it.
        attacks: Whether these are for attacks, not for classification.
    """

    record: ArchiveRecord
    manifest: Manifest
    workers: int
    attacks: bool = False

    @property
    def name(self) -> str:
        """What TorchServe calls it."""
        return f"{self.record.name}{SUFFIX if self.attacks else ''}"

    @property
    def path(self) -> str:
        """Where its predictions are, below the server's address."""
        return f"/predictions/{self.name}/{self.record.version}"


def find_archives(store: Path, names: Sequence[str] = ()) -> list[Path]:
    """The .mar files of a store, sorted; only those of the models named, if any are.

    Raises:
        UsageError: There is none, or one of the models has none.
    """
    found = {path.stem: path for path in sorted(store.glob("*.mar"))} if store.is_dir() else {}
    for name in names:
        if name not in found:
            listed = ", ".join(found) or "none"
            raise UsageError(
                f"There is no archive {store / name}.mar; archived models there: {listed}.",
                hint=f"Make it with: holdfast archive {name}",
            )
    if not found:
        raise UsageError(
            f"There is no .mar archive in {store}.", hint="Make one first with: holdfast archive NAME"
        )
    return [found[name] for name in dict.fromkeys(names)] if names else list(found.values())


def prepare(archive: Path, models: Path, workers: int | None = None) -> ServedModel:
    """Unpack and verify an archive as ``models/<name>``, a directory that TorchServe serves as it is.

    Args:
        archive: The .mar file.
        models: The directory of all models.
        workers: The processes that shall run it; what the archive says if ``None``.

    Raises:
        ArchiveError: It is damaged, or not one of Holdfast's.
        UsageError: A model of this name is there already.
    """
    name = read_archive(archive).name
    target = models / name
    if target.exists():
        raise UsageError(f"Two of the archives hold the model {name!r}; one is {archive}.")
    target.mkdir()
    record = unpack(archive, target)
    manifest = read_manifest(target)
    if (manifest.name, manifest.version) != (record.name, record.version):
        raise ArchiveError(f"{archive}: its manifest and its record are not of the same model.")
    shutil.copyfile(_HANDLER, target / HANDLER)
    return ServedModel(record, manifest, _settle_workers(target / SETTINGS, workers))


def prepare_attacks(model: ServedModel, models: Path, workers: int) -> ServedModel:
    """Set up workers that attack a model, beside those that classify: a model of its own to TorchServe.

    Each carries out one attack at a time, which TorchServe gives up on only after a long while: the order
    itself says when the attack is to stop.

    Args:
        model: Prepared, in ``models/<name>``.
        models: The directory of all models.
        workers: The processes.
    """
    attacks = ServedModel(model.record, model.manifest, workers, attacks=True)
    target = models / attacks.name
    shutil.copytree(models / model.name, target)
    settings = _read_settings(target / SETTINGS) | {
        "minWorkers": str(workers),
        "maxWorkers": str(workers),
        "batchSize": "1",
        "responseTimeout": str(_ATTACK_PATIENCE),
    }
    _write_settings(target / SETTINGS, settings)
    return attacks


def _settle_workers(path: Path, workers: int | None) -> int:
    """Read the number of workers from ``model-config.yaml``, or write it there."""
    settings = _read_settings(path)
    if workers is None:
        written = settings.get("minWorkers", "")
        return int(written) if written.isdigit() else WorkerSettings().workers
    _write_settings(path, settings | {"minWorkers": str(workers), "maxWorkers": str(workers)})
    return workers


def _read_settings(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines if ": " in line)


def _write_settings(path: Path, settings: dict[str, str]) -> None:
    path.write_text("".join(f"{key}: {value}\n" for key, value in settings.items()), encoding="utf-8")
