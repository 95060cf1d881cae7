"""The file that keys are kept in: replaced as a whole, by one writer at a time, for its owner alone."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from holdfast.errors import HoldfastError, UsageError
from serving.keys.hashing import hash_secret
from serving.keys.record import KeyFile, KeyRecord, Scope
from serving.keys.token import Token
from serving.rates import Rate

_MODE = 0o600


class KeyFileError(HoldfastError):
    """The file of keys is missing or cannot be used."""


class KeyStore:
    """Keys in a file.

    Whoever changes it holds a lock on a file beside it, ``<name>.lock``; whoever reads it finds the file as
    it was or as it is, never half of it.

    Args:
        path: The file. It and its directory are made when the first key is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> tuple[KeyRecord, ...]:
        """Every key, in the order in which they were made.

        Raises:
            KeyFileError: There is no such file, it is not one of keys, or others may read it.
        """
        try:
            with self.path.open("rb") as file:
                state = os.fstat(file.fileno())
                content = file.read()
        except FileNotFoundError:
            raise KeyFileError(
                f"There is no file of keys {self.path}.",
                hint=f"Make a key with: HOLDFAST_KEYS_FILE={self.path} holdfast keys create --scope classify",
            ) from None
        except OSError as error:
            raise KeyFileError(f"The file of keys {self.path} cannot be read: {error.strerror}.") from None
        mode = stat.S_IMODE(state.st_mode)
        if mode & _open_to_others(state.st_uid):
            raise KeyFileError(
                f"The file of keys {self.path} has mode {mode:04o}: others than its owner may use it.",
                hint=f"Close it with: chmod 600 {self.path}",
            )
        try:
            return KeyFile.model_validate_json(content).keys
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            place = ".".join(str(step) for step in first["loc"])
            raise KeyFileError(
                f"The file of keys {self.path} cannot be used: {place}: {first['msg']}.",
                hint="Restore it, or remove it and make new keys with: holdfast keys create",
            ) from None

    def create(
        self,
        name: str,
        scopes: tuple[Scope, ...],
        *,
        expires: datetime | None = None,
        rate: Rate | None = None,
    ) -> tuple[Token, KeyRecord]:
        """Make a key. The token is nowhere but in the answer.

        Raises:
            KeyFileError: The file cannot be used or written.
        """
        token = Token.generate()
        record = KeyRecord(
            id=token.id,
            name=name,
            scopes=scopes,
            created=datetime.now(UTC).replace(microsecond=0),
            expires=expires,
            rate=rate,
            hash=hash_secret(token.secret),
        )
        self._change(lambda keys: (*keys, record))
        return token, record

    def revoke(self, key: str) -> KeyRecord:
        """Revoke the key with this id; to do so twice changes nothing.

        Raises:
            UsageError: There is no such key.
            KeyFileError: The file cannot be used or written.
        """
        now = datetime.now(UTC).replace(microsecond=0)

        def change(keys: tuple[KeyRecord, ...]) -> tuple[KeyRecord, ...]:
            if not any(each.id == key for each in keys):
                raise UsageError(
                    f"There is no key with the id {key!r} in {self.path}.",
                    hint="'holdfast keys list' shows the ids.",
                )
            return tuple(
                each.model_copy(update={"revoked": now}) if each.id == key and not each.revoked else each
                for each in keys
            )

        return next(each for each in self._change(change) if each.id == key)

    def _change(
        self, change: Callable[[tuple[KeyRecord, ...]], tuple[KeyRecord, ...]]
    ) -> tuple[KeyRecord, ...]:
        try:
            with self._locked():
                before = self.read() if self.path.exists() else ()
                after = change(before)
                if after != before:
                    self._write(KeyFile(keys=after))
                return after
        except OSError as error:
            raise KeyFileError(f"The file of keys {self.path} cannot be written: {error.strerror}.") from None

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Be the only one to change the file; the lock goes with the process that holds it."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(
            self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE
        )
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, content: KeyFile) -> None:
        """Put the new file in the old one's place, when all of it is on the disk."""
        # mkstemp's files are their owner's alone from the first moment.
        handle, name = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(content.model_dump_json(indent=2) + "\n")
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        except BaseException:
            with suppress(FileNotFoundError):
                Path(name).unlink()
            raise
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _open_to_others(owner: int) -> int:
    """The bits of a mode that a file of keys must not have.

    What root gives others to read, as Kubernetes mounts a secret, they read by its group: there is no other
    way. PostgreSQL draws the line for its private keys in the same place.
    """
    return 0o037 if owner == 0 and os.geteuid() != 0 else 0o077
