"""The bundle: one directory that holds a model as it is served, and the store of such directories.

    <store>/<name>/<version>/bundle.json, predict.onnx, gradient.onnx, model.safetensors, CARD.md, …

Opening a bundle verifies every hash and refuses what is unlisted, missing or changed. Nothing in a bundle
is ever unpickled.

    HoldfastError
    └── BundleError
        ├── BundleNotFoundError       no bundle at this path, or no such model or version in the store
        ├── ManifestError             bundle.json is damaged or does not follow the schema
        ├── SchemaVersionError        bundle.json was written by a newer Holdfast
        ├── MissingFileError          a listed file is not there
        ├── UnlistedFileError         a file is there that the manifest does not list
        └── ChangedFileError          a file is not what it was when the manifest was written
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from holdfast.errors import HoldfastError
from holdfast.manifest import NAME_PATTERN, SCHEMA_VERSION, VERSION_PATTERN, Defence, FileEntry, Manifest

MANIFEST = "bundle.json"
WEIGHTS = "model.safetensors"
PREDICT = "predict.onnx"
GRADIENT = "gradient.onnx"
#: Only a bundle with manifold evidence has this: images to the manifold logit and its input gradient.
MANIFOLD = "manifold.onnx"
#: Only a bundle with a cosine head has this: images and a slope to features and their product's gradient.
FEATURES = "features.onnx"
TORCHSCRIPT = "model.pt"
CARD = "CARD.md"

#: The graph that answers for each defence.
DEFENDED: dict[Defence, str] = {
    "none": PREDICT,
    "imt": "predict_imt.onnx",
    "imt+": "predict_imt_plus.onnx",
}

#: A static model has at least these.
REQUIRED = (PREDICT, GRADIENT, WEIGHTS, CARD)

#: What card and manifest are called while they are written; a process that is killed leaves one behind.
_TEMPORARY = re.compile(rf"\.({re.escape(MANIFEST)}|{re.escape(CARD)})\.\d+")

#: A manifest is read whole before anything is known about it, so it is bounded.
MAX_MANIFEST_BYTES = 4 * 1024 * 1024


class BundleError(HoldfastError):
    """A bundle cannot be used; the message says which and why."""


class BundleNotFoundError(BundleError):
    """There is no such bundle."""


class ManifestError(BundleError):
    """The manifest is damaged or does not follow the schema."""


class SchemaVersionError(BundleError):
    """The manifest was written for a newer schema."""


class MissingFileError(BundleError):
    """A file that the manifest lists is not there."""


class UnlistedFileError(BundleError):
    """There is a file that the manifest does not list."""


class ChangedFileError(BundleError):
    """A file's bytes are not those that the manifest describes."""


_RESTORE = "Restore it from where it came from, or export it again with: holdfast export"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle. Make one with :meth:`open`, which verifies it."""

    root: Path
    manifest: Manifest

    @classmethod
    def open(cls, root: str | os.PathLike[str], *, verify: bool = True) -> Bundle:
        """Open the bundle in directory ``root``.

        Args:
            root: The directory that holds ``bundle.json``.
            verify: Compare every file with its hash; without it, only presence and size are checked.

        Raises:
            BundleError: One of its subclasses, see the module's docstring.
        """
        directory = Path(root)
        bundle = cls(directory, read_manifest(directory))
        try:
            bundle.check_files(hashes=verify)
        except ChangedFileError:
            # Whoever measures a model replaces card and manifest one right after the other.
            with locked(directory, shared=True):
                bundle = cls(directory, read_manifest(directory))
                bundle.check_files(hashes=verify)
        return bundle

    @property
    def name(self) -> str:
        """The model's name."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """The model's version, a positive integer as text."""
        return self.manifest.version

    def path(self, filename: str) -> Path:
        """The path of one of the bundle's listed files.

        Raises:
            MissingFileError: The manifest does not list ``filename``.
        """
        if filename not in self.manifest.files:
            listed = ", ".join(sorted(self.manifest.files))
            raise MissingFileError(
                f"Model {self.name} version {self.version} has no {filename}; it has {listed}.",
                hint="Export it again with a Holdfast that writes this file: holdfast export",
            )
        return self.root / filename

    def check_files(self, *, hashes: bool = True, but: Collection[str] = ()) -> None:
        """Refuse what is unlisted, missing or changed.

        Args:
            hashes: Compare every file with its hash; without it, only presence and size are checked.
            but: Files that may be missing or changed.

        Raises:
            UnlistedFileError, MissingFileError, ChangedFileError: See the module's docstring.
        """
        listed = set(self.manifest.files)
        names = {entry.name for entry in self.root.iterdir()}
        present = {name for name in names if name != MANIFEST and not _TEMPORARY.fullmatch(name)}
        for name in sorted(present - listed):
            raise UnlistedFileError(
                f"{self.root / name} is not listed in {MANIFEST}.",
                hint="Move it out of the bundle: a bundle holds only what its manifest vouches for.",
            )
        for name in sorted(listed - present - set(but)):
            raise MissingFileError(f"{self.root / name} is missing: {MANIFEST} lists it.", hint=_RESTORE)
        for name, entry in sorted(self.manifest.files.items()):
            if name in but:
                continue
            path = self.root / name
            if path.is_symlink() or not path.is_file():
                raise ChangedFileError(f"{path} is not a regular file.", hint=_RESTORE)
            size = path.stat().st_size
            if size != entry.size:
                raise ChangedFileError(
                    f"{path} has {size} bytes where {MANIFEST} says {entry.size}.", hint=_RESTORE
                )
            if hashes and (digest := sha256_file(path)) != entry.sha256:
                raise ChangedFileError(
                    f"{path} has changed: its SHA-256 is {digest[:12]}… where {MANIFEST} says "
                    f"{entry.sha256[:12]}….",
                    hint=_RESTORE,
                )


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write ``bundle.json`` into ``root``, whole or not at all."""
    replace_text(root / MANIFEST, manifest.to_json())


def replace_text(path: Path, text: str) -> None:
    """Write a card or a manifest of a bundle, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(root: Path, *, shared: bool = False) -> Iterator[None]:
    """Wait until nobody writes card and manifest of the bundle in ``root``; hold them off meanwhile.

    Args:
        root: The bundle's directory. Where it cannot be locked, nothing is waited for.
        shared: To read only: others may do so at the same time.
    """
    try:
        import fcntl
    except ModuleNotFoundError:  # not on Windows
        yield
        return
    try:
        handle = os.open(root, os.O_RDONLY)
    except OSError:
        yield  # opening the bundle will say what is wrong
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def describe_files(root: Path, names: Iterator[str] | list[str]) -> dict[str, FileEntry]:
    """Hash and size of each named file in ``root``, for the manifest."""
    return {
        name: FileEntry(sha256=sha256_file(root / name), size=(root / name).stat().st_size)
        for name in sorted(names)
    }


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class ModelStore:
    """A directory of bundles, ``<store>/<name>/<version>/``.

    What is not a bundle's place is passed over: files (``<name>.mar``), hidden directories, and directories
    whose names are no model name or version.
    """

    root: Path

    def names(self) -> list[str]:
        """The models in the store, sorted."""
        if not self.root.is_dir():
            raise BundleNotFoundError(
                f"There is no model store at {self.root}.",
                hint="Name one with --store or HOLDFAST_MODEL_STORE.",
            )
        return sorted(
            entry.name
            for entry in self.root.iterdir()
            if entry.is_dir() and re.match(NAME_PATTERN, entry.name) and self._versions(entry)
        )

    def versions(self, name: str) -> list[str]:
        """The versions of a model, oldest first.

        Raises:
            BundleNotFoundError: The store has no such model.
        """
        versions = self._versions(self.root / name) if re.match(NAME_PATTERN, name) else []
        if not versions:
            names = ", ".join(self.names()) or "none"
            raise BundleNotFoundError(
                f"The model store {self.root} has no model {name!r}.", hint=f"It has: {names}."
            )
        return versions

    def directory(self, name: str, version: str | None = None) -> Path:
        """Where a bundle lies; the newest version if none is named.

        Raises:
            BundleNotFoundError: The store has no such model or version.
        """
        versions = self.versions(name)
        if version is not None and version not in versions:
            raise BundleNotFoundError(
                f"Model {name!r} has no version {version!r}.", hint=f"It has: {', '.join(versions)}."
            )
        return self.root / name / (version or versions[-1])

    def open(self, name: str, version: str | None = None, *, verify: bool = True) -> Bundle:
        """Open a bundle, the newest version if none is named.

        Raises:
            BundleError: There is none, it is damaged, or its manifest names another model.
        """
        directory = self.directory(name, version)
        bundle = Bundle.open(directory, verify=verify)
        if (bundle.name, bundle.version) != (name, directory.name):
            raise ManifestError(
                f"{directory} holds {bundle.name} version {bundle.version}, not {name} version "
                f"{directory.name}.",
                hint="Move the directory to the place that its manifest names.",
            )
        return bundle

    def __iter__(self) -> Iterator[Bundle]:
        """Every bundle of the store, opened and verified."""
        for name in self.names():
            for version in self.versions(name):
                yield self.open(name, version)

    @staticmethod
    def _versions(directory: Path) -> list[str]:
        if not directory.is_dir():
            return []
        found = (
            entry.name
            for entry in directory.iterdir()
            if re.match(VERSION_PATTERN, entry.name) and (entry / MANIFEST).is_file()
        )
        return sorted(found, key=int)


def resolve(reference: str, store: Path) -> Bundle:
    """Open what a person names: a bundle's directory, ``name`` or ``name/version`` in the store.

    Raises:
        BundleError: There is no such bundle, or it is damaged.
    """
    if (Path(reference) / MANIFEST).is_file():
        return Bundle.open(reference)
    name, version = _name_and_version(reference)
    return ModelStore(store).open(name, version)


def locate(reference: str, store: Path) -> Path:
    """The directory of what a person names, as :func:`resolve` finds it; it is not opened.

    Raises:
        BundleNotFoundError: There is no such bundle.
    """
    if (Path(reference) / MANIFEST).is_file():
        return Path(reference)
    return ModelStore(store).directory(*_name_and_version(reference))


def _name_and_version(reference: str) -> tuple[str, str | None]:
    if reference.startswith((".", "/")) or reference.count("/") > 1:
        raise BundleNotFoundError(f"There is no bundle at {reference}: it has no {MANIFEST}.")
    name, _, version = reference.partition("/")
    return name, version or None


def read_manifest(root: Path) -> Manifest:
    """Read and check ``bundle.json`` in the directory ``root``, and nothing else there.

    Raises:
        BundleNotFoundError, ManifestError, SchemaVersionError: See the module's docstring.
    """
    path = root / MANIFEST
    if not path.is_file():
        raise BundleNotFoundError(f"There is no bundle at {root}: it has no {MANIFEST}.")
    if path.stat().st_size > MAX_MANIFEST_BYTES:
        raise ManifestError(f"{path} is larger than {MAX_MANIFEST_BYTES} bytes; it is no manifest.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, a number or a nesting beyond bounds
        raise ManifestError(f"{path} is not JSON: {error}.", hint=_RESTORE) from None
    if not isinstance(content, Mapping) or not isinstance(content.get("schema_version"), int):
        raise ManifestError(f"{path} has no schema_version; it is no manifest of a bundle.", hint=_RESTORE)
    if content["schema_version"] > SCHEMA_VERSION:
        raise SchemaVersionError(
            f"{path} has schema version {content['schema_version']}; this Holdfast reads up to "
            f"{SCHEMA_VERSION}.",
            hint="Upgrade Holdfast: pip install --upgrade holdfast",
        )
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the manifest"
        raise ManifestError(f"{path}: {where}: {first['msg']}.", hint=_RESTORE) from None
    if manifest.digest != manifest.compute_digest():
        raise ManifestError(
            f"{path} has changed since it was written: its digest does not match.", hint=_RESTORE
        )
    return manifest
