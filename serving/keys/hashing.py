"""How keys are stored: hashed by argon2id, so that who reads the file has none of them."""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerifyMismatchError

#: The least that OWASP's Password Storage Cheat Sheet asks for: 19 MiB, 2 passes, 1 lane. A key has 256
#: random bits and cannot be guessed, whatever a guess costs; more would be spent at every restart for each.
_HASHER = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

#: Of no key. What is compared with it takes as long as what is compared with a real one.
NOBODY = _HASHER.hash("nobody")


def hash_secret(secret: str) -> str:
    """The hash of a key's secret, with its parameters and salt."""
    return _HASHER.hash(secret)


def verify_secret(hashed: str, secret: str) -> bool:
    """Whether this secret was hashed; takes some hundredths of a second, in which other threads run."""
    try:
        return _HASHER.verify(hashed, secret)
    except (VerifyMismatchError, InvalidHashError):
        return False
