"""A running gateway knows a key by a digest, and learns of keys made and revoked within a second."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from serving.keys import keyring as keyring_module
from serving.keys.keyring import BusyError, Keyring, RefusedKeyError
from serving.keys.record import KeyFile
from serving.keys.store import KeyFileError, KeyStore
from serving.keys.token import Token

pytestmark = pytest.mark.anyio


class Clock:
    """Time that passes when it is told to."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(keyring_module, "time", made)
    return made


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The secrets that were hashed to be compared."""
    secrets: list[str] = []
    verify = keyring_module.verify_secret

    def note(hashed: str, secret: str) -> bool:
        secrets.append(secret)
        return verify(hashed, secret)

    monkeypatch.setattr(keyring_module, "verify_secret", note)
    return secrets


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys.json")


@pytest.fixture
def token(store: KeyStore) -> Token:
    return store.create("a", ("classify",))[0]


@pytest.fixture
def keyring(store: KeyStore, token: Token, clock: Clock) -> Iterator[Keyring]:
    made = Keyring(store)
    yield made
    made.close()


async def reason(keyring: Keyring, token: Token) -> str:
    with pytest.raises(RefusedKeyError) as caught:
        await keyring.verify(token)
    return caught.value.reason


async def test_key_is_hashed_once_and_known_from_then_on(
    keyring: Keyring, token: Token, hashed: list[str]
) -> None:
    assert keyring.find_verified(token.reveal()) is None
    record = await keyring.verify(token)
    assert record.name == "a"
    for _ in range(3):
        assert keyring.find_verified(token.reveal()) == record
    assert hashed == [token.secret]


async def test_callers_who_come_together_have_their_key_hashed_once(
    keyring: Keyring, token: Token, hashed: list[str]
) -> None:
    await asyncio.gather(*(keyring.verify(token) for _ in range(10)))
    assert hashed == [token.secret]


async def test_caller_who_goes_away_does_not_take_the_answer_of_the_others(
    keyring: Keyring, token: Token
) -> None:
    first, second = (asyncio.create_task(keyring.verify(token)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).id == token.id


async def test_wrong_secret_of_a_known_key_is_refused_before_and_after_the_right_one(
    keyring: Keyring, token: Token
) -> None:
    wrong = Token(token.id, Token.generate().secret)
    for _ in range(2):
        assert keyring.find_verified(wrong.reveal()) is None
        assert await reason(keyring, wrong) == "wrong"
        await keyring.verify(token)


async def test_unknown_key_is_hashed_like_a_known_one(keyring: Keyring, hashed: list[str]) -> None:
    """Else the time would tell which ids there are."""
    stranger = Token.generate()
    assert await reason(keyring, stranger) == "unknown"
    assert hashed == [stranger.secret]


async def test_key_made_elsewhere_is_known_within_a_second(
    keyring: Keyring, store: KeyStore, clock: Clock
) -> None:
    made, _ = store.create("b", ("attack",))
    assert keyring.find_verified(made.reveal()) is None
    assert await reason(keyring, made) == "unknown"
    clock.now += 1.0
    keyring.find_verified(made.reveal())
    assert (await keyring.verify(made)).name == "b"


async def test_key_revoked_elsewhere_is_refused_within_a_second(
    keyring: Keyring, store: KeyStore, token: Token, clock: Clock
) -> None:
    await keyring.verify(token)
    store.revoke(token.id)
    clock.now += 0.9
    assert keyring.find_verified(token.reveal()) is not None
    clock.now += 0.1
    assert keyring.find_verified(token.reveal()) is None
    assert await reason(keyring, token) == "revoked"


async def test_key_that_expires_is_refused_though_it_was_verified(store: KeyStore) -> None:
    token, _ = store.create("a", ("classify",), expires=datetime.now(UTC) + timedelta(seconds=0.5))
    keyring = Keyring(store)
    await keyring.verify(token)
    assert keyring.find_verified(token.reveal()) is not None
    await asyncio.sleep(0.6)
    assert keyring.find_verified(token.reveal()) is None
    assert await reason(keyring, token) == "expired"
    keyring.close()


async def test_revocation_while_the_key_is_hashed_counts(
    keyring: Keyring, store: KeyStore, token: Token, clock: Clock
) -> None:
    verifying = asyncio.create_task(keyring.verify(token))
    await asyncio.sleep(0)
    store.revoke(token.id)
    clock.now += 1.0
    keyring.find_verified("")
    with pytest.raises(RefusedKeyError):
        await verifying


async def test_key_whose_id_was_given_to_another_secret_is_known_no_longer(
    keyring: Keyring, store: KeyStore, token: Token, clock: Clock
) -> None:
    """Someone restores another file: what was verified was verified with another hash."""
    await keyring.verify(token)
    _, other = store.create("b", ("classify",))
    swapped = store.read()[0].model_copy(update={"hash": other.hash})
    store._write(KeyFile(keys=(swapped,)))
    clock.now += 1.0
    assert keyring.find_verified(token.reveal()) is None
    assert await reason(keyring, token) == "wrong"


async def test_file_that_is_gone_leaves_no_key_until_it_is_back(
    keyring: Keyring, store: KeyStore, token: Token, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await keyring.verify(token)
    away = store.path.rename(store.path.with_suffix(".away"))
    clock.now += 1.0
    assert keyring.find_verified(token.reveal()) is None
    assert "is gone" in caplog.text
    away.rename(store.path)
    clock.now += 1.0
    keyring.find_verified(token.reveal())
    assert (await keyring.verify(token)).id == token.id


async def test_file_that_was_damaged_leaves_the_keys_as_they_were(
    keyring: Keyring, store: KeyStore, token: Token, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await keyring.verify(token)
    store.path.write_text("{")
    clock.now += 1.0
    assert keyring.find_verified(token.reveal()) is not None
    assert "stay as they were" in caplog.text


async def test_revocation_counts_although_the_file_could_not_be_read_at_first(
    keyring: Keyring,
    store: KeyStore,
    token: Token,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await keyring.verify(token)
    store.revoke(token.id)

    def fail(*_given: object, **_named: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", fail)
        for _ in range(3):
            clock.now += 1.0
            assert keyring.find_verified(token.reveal()) is not None
    assert caplog.text.count("stay as they were") == 1
    assert os.strerror(errno.EMFILE) in caplog.text
    clock.now += 1.0
    assert keyring.find_verified(token.reveal()) is None
    assert await reason(keyring, token) == "revoked"


async def test_only_so_many_keys_are_verified_at_a_time(
    keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyring_module, "_MAX_PENDING", 3)
    waiting = [asyncio.create_task(keyring.verify(Token.generate())) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(BusyError):
        await keyring.verify(Token.generate())
    await asyncio.gather(*waiting, return_exceptions=True)
    assert await reason(keyring, Token.generate()) == "unknown"


def test_no_gateway_starts_with_keys_that_are_none(store: KeyStore) -> None:
    with pytest.raises(KeyFileError, match="no file of keys"):
        Keyring(store)
    token, _ = store.create("a", ("classify",))
    store.revoke(token.id)
    with pytest.raises(KeyFileError, match="no valid key"):
        Keyring(store)
