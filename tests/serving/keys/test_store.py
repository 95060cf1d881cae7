"""Keys are kept in a file that is whole at every moment, its owner's alone, and of no use to who reads it."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from holdfast.errors import UsageError
from serving.keys.hashing import verify_secret
from serving.keys.record import KeyRecord
from serving.keys.store import KeyFileError, KeyStore
from serving.rates import Rate


@pytest.fixture
def store(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "made" / "keys.json")


def test_key_is_kept_with_all_but_its_secret(store: KeyStore) -> None:
    expires = datetime(2100, 1, 1, tzinfo=UTC)
    token, record = store.create("ci", ("attack", "classify"), expires=expires, rate=Rate(5, 60))
    assert store.read() == (record,)
    assert (record.id, record.name, record.scopes) == (token.id, "ci", ("classify", "attack"))
    assert (record.expires, record.rate, record.revoked) == (expires, Rate(5, 60), None)
    assert datetime.now(UTC) - record.created < timedelta(minutes=1)
    content = store.path.read_text()
    assert token.secret not in content
    assert verify_secret(record.hash, token.secret)
    assert not verify_secret(record.hash, token.secret[:-1] + "?")


def test_file_is_its_owners_alone(store: KeyStore) -> None:
    before = os.umask(0)
    try:
        store.create("a", ("classify",))
        store.create("b", ("classify",))
    finally:
        os.umask(before)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert sorted(path.name for path in store.path.parent.iterdir()) == ["keys.json", "keys.json.lock"]


def test_file_that_others_may_read_is_refused_with_the_way_to_close_it(store: KeyStore) -> None:
    store.create("a", ("classify",))
    store.path.chmod(0o640)
    with pytest.raises(KeyFileError, match="mode 0640") as caught:
        store.read()
    assert f"chmod 600 {store.path}" in caught.value.hint


def given_by_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are root's, and we are not root: a secret as Kubernetes mounts it."""
    state = os.fstat

    def of_root(number: int) -> os.stat_result:
        values = list(state(number))
        values[stat.ST_UID] = 0
        return os.stat_result(values)

    monkeypatch.setattr(os, "fstat", of_root)
    monkeypatch.setattr(os, "geteuid", lambda: 10001)


def test_file_that_root_gives_to_our_group_can_be_used(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.create("a", ("classify",))
    store.path.chmod(0o440)
    given_by_root(monkeypatch)
    assert [key.name for key in store.read()] == ["a"]


@pytest.mark.parametrize("mode", [0o444, 0o460, 0o644])
def test_file_that_root_gives_to_everyone_is_refused(
    store: KeyStore, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    store.create("a", ("classify",))
    store.path.chmod(mode)
    given_by_root(monkeypatch)
    with pytest.raises(KeyFileError, match=f"mode {mode:04o}"):
        store.read()


def test_missing_file_is_told_with_the_way_to_make_it(store: KeyStore) -> None:
    with pytest.raises(KeyFileError, match="no file of keys") as caught:
        store.read()
    assert "holdfast keys create" in caught.value.hint


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"format": "holdfast-keys/2", "keys": []}', '{"keys": [{"id": "x"}]}']
)
def test_file_of_something_else_is_refused_and_never_written_to(store: KeyStore, content: str) -> None:
    store.path.parent.mkdir()
    store.path.write_text(content)
    store.path.chmod(0o600)
    for use in (store.read, lambda: store.create("a", ("classify",)), lambda: store.revoke("0" * 11)):
        with pytest.raises(KeyFileError, match="cannot be used"):
            use()
    assert store.path.read_text() == content


def test_complaint_about_a_file_shows_no_hash(store: KeyStore) -> None:
    _, record = store.create("a", ("classify",))
    damaged = json.loads(store.path.read_text())
    damaged["keys"][0]["scopes"] = ["root"]
    store.path.write_text(json.dumps(damaged))
    with pytest.raises(KeyFileError) as caught:
        store.read()
    assert "keys.0.scopes" in caught.value.message
    assert record.hash not in caught.value.message + caught.value.hint


def test_revoked_key_stays_in_the_list_and_keeps_its_first_moment(store: KeyStore) -> None:
    token, _ = store.create("a", ("classify",))
    other, _ = store.create("b", ("admin",))
    first = store.revoke(token.id)
    assert first.revoked is not None
    assert store.revoke(token.id) == first
    assert [record.state() for record in store.read()] == ["revoked", "active"]
    assert other.id == store.read()[1].id


def test_key_that_is_not_there_cannot_be_revoked(store: KeyStore) -> None:
    store.create("a", ("classify",))
    with pytest.raises(UsageError, match="no key with the id 'nope'"):
        store.revoke("nope")


def test_key_expires_at_its_moment() -> None:
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    record = KeyRecord(
        id="0" * 11, name="a", scopes=("classify",), created=moment, expires=moment, hash="$argon2id$"
    )
    assert record.state(moment - timedelta(seconds=1)) == "active"
    assert record.state(moment) == "expired"


def test_writers_at_the_same_time_lose_no_key(store: KeyStore) -> None:
    """In threads and in processes: what one has read no other may have changed when it writes."""
    script = (
        "import sys; from pathlib import Path; from serving.keys.store import KeyStore\n"
        "for _ in range(3): KeyStore(Path(sys.argv[1])).create('p', ('classify',))"
    )
    processes = [subprocess.Popen([sys.executable, "-c", script, str(store.path)]) for _ in range(2)]
    threads = [
        threading.Thread(target=lambda: [store.create("t", ("attack",)) for _ in range(3)]) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [process.wait(60) for process in processes] == [0, 0]
    assert len({record.id for record in store.read()}) == 12


def test_reader_never_finds_half_a_file(store: KeyStore) -> None:
    store.create("a", ("classify",))
    stop = threading.Event()
    found: list[int] = []

    def read() -> None:
        while not stop.is_set():
            found.append(len(store.read()))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(5):
        store.create("b", ("classify",))
    stop.set()
    reader.join()
    assert found == sorted(found)


def test_write_that_fails_leaves_the_file_as_it_was(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.create("a", ("classify",))
    before = store.path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyFileError, match="No space left on device"):
        store.create("b", ("classify",))
    assert store.path.read_bytes() == before
    assert sorted(path.name for path in store.path.parent.iterdir()) == ["keys.json", "keys.json.lock"]
