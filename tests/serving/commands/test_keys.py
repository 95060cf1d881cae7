"""`holdfast keys`: keys are made, shown once, listed and revoked."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.cli import invoke

from serving.keys.hashing import verify_secret
from serving.keys.store import KeyStore
from serving.keys.token import Token

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "keys.json"
    monkeypatch.setenv("HOLDFAST_KEYS_FILE", str(path))
    return path


def test_key_alone_goes_to_standard_output(file: Path, capsys: Capture) -> None:
    outcome = invoke(capsys, "keys", "create", "--scope", "classify", "--name", "ci")
    assert outcome.code == 0
    token = Token.parse(outcome.out.removesuffix("\n"))
    assert token is not None
    [record] = KeyStore(file).read()
    assert (record.id, record.name, record.scopes) == (token.id, "ci", ("classify",))
    assert verify_secret(record.hash, token.secret)
    assert "only time" in outcome.err
    assert token.secret not in outcome.err


def test_key_has_the_scopes_the_rate_and_the_end_that_are_asked_for(file: Path, capsys: Capture) -> None:
    options = ("--scope", "attack", "--scope", "classify", "--expires", "90d", "--rate", "5/second")
    assert invoke(capsys, "keys", "create", *options).code == 0
    [record] = KeyStore(file).read()
    assert record.name == "attack+classify"
    assert record.scopes == ("classify", "attack")
    assert str(record.rate) == "5/second"
    assert record.expires is not None
    assert abs(record.expires - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    ("given", "moment"),
    [
        ("2100-01-31", datetime(2100, 1, 31, tzinfo=UTC)),
        ("2100-01-31T12:30Z", datetime(2100, 1, 31, 12, 30, tzinfo=UTC)),
        ("2100-01-31T12:30+02:00", datetime(2100, 1, 31, 10, 30, tzinfo=UTC)),
    ],
)
def test_end_is_a_moment(file: Path, capsys: Capture, given: str, moment: datetime) -> None:
    invoke(capsys, "keys", "create", "--scope", "admin", "--expires", given)
    assert KeyStore(file).read()[0].expires == moment


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--scope", "root"), "no scope 'root'"),
        (("--scope", "classify", "--expires", "soon"), "no time"),
        (("--scope", "classify", "--expires", "2001-01-01"), "over already"),
        (("--scope", "classify", "--expires", "0d"), "over already"),
        (("--scope", "classify", "--expires", "9999999d"), "no time"),
        (("--scope", "classify", "--rate", "often"), "--rate is 'often'"),
        ((), "--scope"),
    ],
)
def test_what_cannot_be_is_refused_and_makes_no_key(
    file: Path, capsys: Capture, options: tuple[str, ...], complaint: str
) -> None:
    outcome = invoke(capsys, "keys", "create", *options)
    assert outcome.code == 2
    assert complaint in outcome.err
    assert outcome.out == ""
    assert not file.exists()


def test_keys_are_listed_without_anything_to_use_them_by(file: Path, capsys: Capture) -> None:
    made = [invoke(capsys, "keys", "create", "--scope", scope).out.strip() for scope in ("classify", "admin")]
    tokens = [Token.parse(text) for text in made]
    listed = invoke(capsys, "keys", "list").out
    parsed = json.loads(invoke(capsys, "keys", "list", "--json").out)
    assert [entry["id"] for entry in parsed] == [token.id for token in tokens if token]
    for token, entry in zip(tokens, parsed, strict=True):
        assert token is not None
        assert token.id in listed
        assert token.secret not in listed + json.dumps(parsed)
        assert entry["state"] == "active"
    assert "argon2" not in listed + json.dumps(parsed)


@pytest.mark.parametrize("whole", [False, True], ids=["by its id", "by the whole key"])
def test_key_is_revoked(file: Path, capsys: Capture, whole: bool) -> None:
    made = invoke(capsys, "keys", "create", "--scope", "classify").out.strip()
    token = Token.parse(made)
    assert token is not None
    outcome = invoke(capsys, "keys", "revoke", made if whole else token.id)
    assert outcome.code == 0
    assert token.secret not in outcome.out + outcome.err
    assert re.search(rf"{token.id} .* revoked", invoke(capsys, "keys", "list").out)


def test_file_is_named_by_an_option_too(tmp_path: Path, file: Path, capsys: Capture) -> None:
    other = tmp_path / "other.json"
    assert invoke(capsys, "keys", "create", "--scope", "classify", "--file", other).code == 0
    assert other.exists()
    assert not file.exists()


def test_without_a_file_it_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.delenv("HOLDFAST_KEYS_FILE", raising=False)
    outcome = invoke(capsys, "keys", "list")
    assert outcome.code == 2
    assert "HOLDFAST_KEYS_FILE" in outcome.err


def test_directory_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOLDFAST_KEYS_FILE", str(tmp_path / "file" / "keys.json"))
    outcome = invoke(capsys, "keys", "create", "--scope", "classify")
    assert outcome.code == 1
    assert "cannot be written" in outcome.err
