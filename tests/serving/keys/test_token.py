"""A key looks like one, and what is mistyped is none."""

from __future__ import annotations

import string

import pytest

from serving.keys.token import Token


def test_key_is_read_back_as_it_was_made() -> None:
    token = Token.generate()
    assert Token.parse(token.reveal()) == token


def test_key_has_its_public_id_in_it_and_256_random_bits() -> None:
    token = Token.generate()
    prefix, key, secret = token.reveal().split("_")
    assert (prefix, key) == ("holdfast", token.id)
    assert 62 ** len(token.secret) > 2**256
    assert set(secret) <= set(string.ascii_letters + string.digits)


def test_no_two_keys_are_alike() -> None:
    made = [Token.generate() for _ in range(1000)]
    assert len({token.id for token in made}) == len({token.secret for token in made}) == 1000


def test_one_wrong_character_anywhere_is_noticed() -> None:
    text = Token.generate().reveal()
    for place in range(len(text)):
        other = "x" if text[place] != "x" else "y"
        assert Token.parse(text[:place] + other + text[place + 1 :]) is None


@pytest.mark.parametrize("text", ["", "holdfast", "holdfast__", "Bearer", "é" * 70, "holdfast_a_b\n"])
def test_what_is_no_key_is_none(text: str) -> None:
    assert Token.parse(text) is None


def test_part_of_a_key_is_none() -> None:
    text = Token.generate().reveal()
    for part in (text[:-1], text[1:], text + "0", text + "\n", f" {text}"):
        assert Token.parse(part) is None


def test_secret_is_not_shown_by_accident() -> None:
    token = Token.generate()
    assert token.secret not in repr(token)
