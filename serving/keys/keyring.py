"""The keys that a running gateway knows.

A key is verified by argon2 once, in a thread of its own. From then on it is known by a keyed digest of what
was sent, which is compared in constant time; the digests' key is made when the gateway starts and is nowhere
else. The file is looked at anew when a key is shown and the last look is a second ago, so that a key that was
made or revoked elsewhere is known within a second, without a restart.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Literal

from holdfast.errors import HoldfastError
from serving.keys.hashing import NOBODY, verify_secret
from serving.keys.record import KeyRecord
from serving.keys.store import KeyFileError, KeyStore
from serving.keys.token import Token

logger = logging.getLogger(__name__)

#: Seconds between two looks at the file: what was revoked is refused at most this much later.
LOOK_SECONDS = 1.0

#: Keys that may wait to be verified at a time. One takes some hundredths of a second.
_MAX_PENDING = 64

#: Why a key is refused; for the log and the metrics, and never for the caller.
Reason = Literal["unknown", "wrong", "expired", "revoked"]


class RefusedKeyError(Exception):
    """A key is not valid.

    Attributes:
        reason: Why.
    """

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


class BusyError(Exception):
    """So many keys are being verified that this one cannot be, now."""


class Keyring:
    """Knows the keys of a file. Touched from the event loop only.

    Args:
        store: The file; it is read at once.

    Raises:
        KeyFileError: It cannot be used, or holds no key that is valid.
    """

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._digest_key = secrets.token_bytes(32)
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="keys")
        #: Of the file whose keys these are; and of one that could not be read, of which the log has heard.
        self._stamp = self._look()
        self._unread: tuple[int, int, int] | None = None
        self._keys = {record.id: record for record in store.read()}
        self._looked = time.monotonic()
        #: By a key's id, the digest of what was verified and the hash that it was verified with.
        self._verified: dict[str, tuple[bytes, str]] = {}
        self._pending: dict[bytes, asyncio.Future[bool]] = {}
        if not any(record.state() == "active" for record in self._keys.values()):
            raise KeyFileError(
                f"The file of keys {store.path} holds no valid key: nobody could ask for anything.",
                hint="Make one with: holdfast keys create --scope classify",
            )

    def find_verified(self, text: str) -> KeyRecord | None:
        """The key, if it is valid and was verified before; takes no time to speak of."""
        self._refresh()
        key = text[9:20]  # see serving.keys.token; whatever is there, the digest has the last word
        known = self._verified.get(key)
        if known is None or not hmac.compare_digest(known[0], self._digest(text)):
            return None
        record = self._keys.get(key)
        return record if record and record.hash == known[1] and record.state() == "active" else None

    async def verify(self, token: Token) -> KeyRecord:
        """Verify a key that :meth:`find_verified` does not know.

        It takes the same time whether there is such a key or not.

        Raises:
            RefusedKeyError: It is not valid.
            BusyError: Too many are being verified.
        """
        record = self._keys.get(token.id)
        hashed = record.hash if record else NOBODY
        digest = self._digest(token.reveal())
        pending = self._pending.get(digest)
        if pending is None:
            if len(self._pending) >= _MAX_PENDING:
                raise BusyError
            loop = asyncio.get_running_loop()
            pending = loop.run_in_executor(self._executor, verify_secret, hashed, token.secret)
            self._pending[digest] = pending
            pending.add_done_callback(lambda _: self._pending.pop(digest, None))
        matches = await asyncio.shield(pending)
        if record is None:
            raise RefusedKeyError("unknown")
        if not matches:
            raise RefusedKeyError("wrong")
        # The file may have changed in the meantime.
        record = self._keys.get(token.id, record)
        state = record.state(datetime.now(UTC))
        if state != "active":
            raise RefusedKeyError(state)
        if record.hash != hashed:
            raise RefusedKeyError("wrong")
        self._verified[token.id] = (digest, hashed)
        return record

    def close(self) -> None:
        """Stop the thread."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _digest(self, text: str) -> bytes:
        return blake2b(text.encode(), key=self._digest_key, digest_size=32).digest()

    def _look(self) -> tuple[int, int, int] | None:
        """What shows that the file has changed: it is replaced, not written to."""
        try:
            found = os.stat(self._store.path)  # noqa: PTH116 - called often
        except OSError:
            return None
        return found.st_ino, found.st_ctime_ns, found.st_size

    def _refresh(self) -> None:
        """Read the file again if it has changed."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        stamp = self._look()
        if stamp == self._stamp:
            return
        if stamp is None:
            self._stamp = None
            # Taken away on purpose, as far as anybody can know.
            logger.error("The file of keys %s is gone: no key is valid until it is back", self._store.path)
            self._keys = {}
            return
        try:
            self._keys = {record.id: record for record in self._store.read()}
        except HoldfastError as error:
            # It is read again at the next look: a key may have been revoked in it, and this may pass.
            if stamp != self._unread:
                logger.error("The keys stay as they were: %s %s", error.message, error.hint)  # noqa: TRY400
            self._unread = stamp
            return
        self._stamp, self._unread = stamp, None
        self._verified = {key: known for key, known in self._verified.items() if key in self._keys}
        logger.info("Read the keys again: %d", len(self._keys))
