"""The playground's files as they are answered: named by what they hold, compressed once.

The page is asked for each time, and leads to the files at an address that has a digest of them all. They may
be kept for ever, since other files have another address.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from holdfast.errors import UsageError
from serving.playground.modules import needed

#: The page among the files, and what stands in it for the address of the others.
PAGE = "index.html"
PLACEHOLDER = "{{assets}}"
#: The script that the page begins with, and what stands in it for the list of all that this one needs.
MAIN = "js/main.js"
MODULES = "{{modules}}"

#: Where the files are, below which stands their digest.
PREFIX = "/playground"

STATIC = Path(__file__).parent / "static"
#: Test images to try, by the name of their data set; scripts/playground_examples.py writes them. They are
#: answered under ``examples/``, beside the static files.
EXAMPLES = Path(__file__).parent / "examples"
EXAMPLES_INDEX = "index.json"
EXAMPLES_PREFIX = "examples/"

#: In place of a digest where files are read anew each time.
UNHASHED = "unhashed"

_MEDIA_TYPES = {
    "": "text/plain",  # a licence
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".json": "application/json",
    ".md": "text/plain",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
#: These are packed already.
_INCOMPRESSIBLE = frozenset({".png", ".woff2"})
_DIGEST_LENGTH = 12


@dataclass(frozen=True)
class Asset:
    """One file.

    Attributes:
        media_type: What it is.
        content: Its bytes.
        compressed: The same by gzip; ``None`` where that gains nothing.
        etag: The entity tag of the bytes as they are.
        compressed_etag: The entity tag of those by gzip.
    """

    media_type: str
    content: bytes
    compressed: bytes | None
    etag: str
    compressed_etag: str

    @classmethod
    def make(cls, name: str, content: bytes) -> Asset:
        """A file by its name and its bytes."""
        suffix = Path(name).suffix
        compressed = None
        if suffix not in _INCOMPRESSIBLE:
            packed = gzip.compress(content, mtime=0)
            compressed = packed if len(packed) < len(content) else None
        tag = hashlib.sha256(content).hexdigest()[:_DIGEST_LENGTH]
        media_type = _MEDIA_TYPES.get(suffix, "application/octet-stream")
        return cls(media_type, content, compressed, f'"{tag}"', f'"{tag}-gzip"')


class Assets(Protocol):
    """The playground's files."""

    @property
    def kept(self) -> bool:
        """Whether what was answered once holds for ever."""

    def page(self) -> Asset:
        """The page itself."""

    def find(self, digest: str, name: str) -> Asset | None:
        """The file of that name among those with that digest, if there is one."""


class PackedAssets:
    """Files that are read once, and stay as they were.

    Args:
        directory: Where they lie, but for the examples; those of this package by default.

    Raises:
        UsageError: There is no page.
    """

    kept = True

    def __init__(self, directory: Path = STATIC) -> None:
        contents = {name: path.read_bytes() for name, path in _list(directory).items()}
        self.digest = _digest(contents)
        scripts = needed(contents, MAIN) if MAIN in contents else []
        self._page = _page(contents.pop(PAGE), self.digest, scripts)
        self._files = {name: Asset.make(name, content) for name, content in contents.items()}

    def page(self) -> Asset:
        """The page itself."""
        return self._page

    def find(self, digest: str, name: str) -> Asset | None:
        """The file of that name, if the digest is that of these files."""
        return self._files.get(name) if digest == self.digest else None

    def static(self) -> list[Asset]:
        """The page and its files, without the examples."""
        files = [asset for name, asset in self._files.items() if not name.startswith(EXAMPLES_PREFIX)]
        return [self._page, *files]


class LooseAssets:
    """Files that are read anew each time, for who is writing them.

    Args:
        directory: Where they lie, but for the examples.

    Raises:
        UsageError: There is no page.
    """

    kept = False

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        _list(directory)

    def page(self) -> Asset:
        """The page as it is now."""
        return _page(_list(self._directory)[PAGE].read_bytes(), UNHASHED)

    def find(self, digest: str, name: str) -> Asset | None:
        """The file of that name as it is now."""
        path = _list(self._directory).get(name) if digest == UNHASHED else None
        return None if path is None or name == PAGE else Asset.make(name, path.read_bytes())


def _list(directory: Path) -> dict[str, Path]:
    """Every file by its name, e.g. ``js/main.js``: a name that is asked for is looked up, and is no path."""
    names = _names(EXAMPLES, EXAMPLES_PREFIX) | _names(directory)
    if PAGE not in names:
        raise UsageError(
            f"{directory} has no {PAGE}.", hint="HOLDFAST_PLAYGROUND_DIR names the folder that has it."
        )
    return names


def _names(directory: Path, prefix: str = "") -> dict[str, Path]:
    found = {path.relative_to(directory): path for path in sorted(directory.rglob("*")) if path.is_file()}
    return {
        prefix + name.as_posix(): path
        for name, path in found.items()
        if not any(part.startswith((".", "__")) for part in name.parts)
    }


def _digest(contents: Mapping[str, bytes]) -> str:
    whole = hashlib.sha256()
    for name, content in sorted(contents.items()):
        whole.update(f"{name}\0{len(content)}\0".encode())
        whole.update(content)
    return whole.hexdigest()[:_DIGEST_LENGTH]


def _page(content: bytes, digest: str, scripts: Sequence[str] = ()) -> Asset:
    links = "\n    ".join(f'<link rel="modulepreload" href="{PLACEHOLDER}/{script}" />' for script in scripts)
    page = content.decode("utf-8").replace(MODULES, links).replace(PLACEHOLDER, f"{PREFIX}/{digest}")
    return Asset.make(PAGE, page.encode("utf-8"))
