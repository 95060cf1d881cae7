"""Reading zip files that nobody vouches for: how much is in them is known before any of it is unpacked.

Nothing is ever written to disk under a name from an archive.
"""

from __future__ import annotations

import io
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from holdfast.errors import HoldfastError

#: At the end of every zip file: what the directory of it holds.
_END = struct.Struct("<4s4H2LH")
_SIGNATURE = b"PK\x05\x06"
_ZIP64_LOCATOR = b"PK\x06\x07"
_LOCATOR_SIZE = 20
_LONGEST_COMMENT = 65_535

#: Bytes that one entry may take in the directory, with its name: more is no honest archive of images.
_ENTRY_BYTES = 1024

#: Names of what operating systems put beside the files that were meant.
_ASIDE = re.compile(r"(^|/)(__MACOSX(/|$)|\.[^/]+(/|$)|Thumbs\.db$|desktop\.ini$)", re.IGNORECASE)

_DRIVE = re.compile(r"^[A-Za-z]:")


class ArchiveError(HoldfastError):
    """The archive is damaged, or not one that is unpacked here."""


class Archive:
    """A zip file whose directory was looked at.

    Args:
        file: Its bytes.
        most_entries: Entries it may have.
        most_bytes: Bytes that all entries together may unpack to.

    Raises:
        ArchiveError: It is none, too large, or holds what is not unpacked here.
    """

    def __init__(self, file: IO[bytes], *, most_entries: int, most_bytes: int) -> None:
        _check_directory(file, most_entries)
        try:
            self._zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError):
            raise ArchiveError("The zip file is damaged.", hint="Pack it again.") from None
        self._left = most_bytes
        self._most_bytes = most_bytes
        self.names = [
            info.filename
            for info in self._zip.infolist()
            if not info.is_dir() and not _ASIDE.search(info.filename)
        ]
        if len(self._zip.infolist()) > most_entries:
            raise _too_many(len(self._zip.infolist()), most_entries)
        for info in self._zip.infolist():
            _check_entry(info)
        if len(set(self.names)) != len(self.names):
            raise ArchiveError("The zip file has two entries of the same name.", hint="Pack it again.")
        if sum(info.file_size for info in self._zip.infolist()) > most_bytes:
            raise self._too_large()

    def entries(self, most_bytes: int) -> Iterator[tuple[str, bytes]]:
        """Every file in it, by name, in the order of the names; a longer one is cut off one byte later."""
        for name in sorted(self.names):
            yield name, self.read(name, most_bytes)

    def read(self, name: str, most_bytes: int) -> bytes:
        """The beginning of one file: all of it, or one byte more than ``most_bytes``.

        Raises:
            ArchiveError: It is damaged, or all that was read from the archive is too much.
        """
        try:
            with self._zip.open(name) as entry:
                content = entry.read(most_bytes + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError):
            raise ArchiveError(f"The zip file is damaged: {name[:200]} cannot be unpacked.") from None
        self._left -= len(content)
        if self._left < 0:
            raise self._too_large()
        return content

    def open(self, name: str) -> IO[bytes]:
        """One file, to be read bit by bit; whoever reads bounds it."""
        return self._zip.open(name)

    def _too_large(self) -> ArchiveError:
        return ArchiveError(
            f"The zip file unpacks to more than the {self._most_bytes} bytes that are accepted."
        )


def is_zip(file: IO[bytes]) -> bool:
    """Whether it begins as a zip file does; afterwards it stands at its beginning."""
    file.seek(0)
    begins = file.read(4)
    file.seek(0)
    return begins in (b"PK\x03\x04", _SIGNATURE)


def _check_directory(file: IO[bytes], most_entries: int) -> None:
    """Refuse a directory that is too large before Python's own reader takes all of it into memory."""
    size = file.seek(0, io.SEEK_END)
    tail_at = max(0, size - _END.size - _LONGEST_COMMENT - _LOCATOR_SIZE)
    file.seek(tail_at)
    tail = file.read()
    file.seek(0)
    at = tail.rfind(_SIGNATURE)
    if at < 0 or len(tail) - at < _END.size:
        raise ArchiveError("This is no zip file, or its end is missing.", hint="Send the whole file.")
    if tail[max(0, at - _LOCATOR_SIZE) : at].startswith(_ZIP64_LOCATOR):
        raise ArchiveError(
            "The zip file is in the ZIP64 format.", hint="Send fewer than 65,535 files at once."
        )
    _, _, _, _, entries, directory, _, _ = _END.unpack(tail[at : at + _END.size])
    if entries > most_entries:
        raise _too_many(entries, most_entries)
    if directory > (most_entries + 1) * _ENTRY_BYTES:
        raise ArchiveError("The zip file's directory is too large.")


def _too_many(entries: int, most: int) -> ArchiveError:
    return ArchiveError(f"The zip file has {entries} entries; {most} are accepted.")


def _check_entry(info: zipfile.ZipInfo) -> None:
    name, shown = info.filename, info.filename[:200]
    # ZipInfo has cut the name at a NUL already; what was there is in orig_filename.
    if name.startswith("/") or "\\" in info.orig_filename or _DRIVE.match(name) or "\0" in info.orig_filename:
        raise ArchiveError(f"The zip file has an entry '{shown}', which is no relative path.")
    if not name.isprintable():
        raise ArchiveError("The zip file has an entry whose name cannot be shown.")
    if ".." in name.split("/"):
        raise ArchiveError(f"The zip file has an entry '{shown}', which leads out of it.")
    if info.flag_bits & 0x1:
        raise ArchiveError("The zip file is encrypted.", hint="Send it without a password.")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ArchiveError(
            f"The zip file compresses '{shown}' in a way that is not accepted.", hint="Use deflate."
        )
