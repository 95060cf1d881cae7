"""Which version answers: shares by weight, the same version for the same key, and the way back."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from support.tiny import make_tiny_bundle

from holdfast.bundle import BundleNotFoundError, ModelStore
from holdfast.routing import ROUTING, RoutingError, choose, clear, read_routing, roll_back, set_weights


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    for version in ("1", "2", "10"):
        make_tiny_bundle(tmp_path, version=version)
    return ModelStore(tmp_path)


def weights(store: ModelStore) -> dict[str, int] | None:
    routing = read_routing(store, "tiny")
    return None if routing is None else routing.weights


def test_requests_are_spread_by_weight() -> None:
    found = Counter(choose({"1": 90, "2": 10, "3": 0}, f"request {number}") for number in range(20_000))
    # 2,000 expected of version 2, with a standard deviation of 42.
    assert 1_800 < found["2"] < 2_200
    assert found["1"] == 20_000 - found["2"]


def test_same_key_stays_with_its_version() -> None:
    split = {"1": 1, "2": 1}
    assert len({choose(split, "alice") for _ in range(100)}) == 1
    assert {choose(split, key) for key in "abcdefgh"} == {"1", "2"}


def test_more_weight_for_a_version_takes_no_key_away_from_it() -> None:
    keys = [f"user {number}" for number in range(2_000)]
    before = {key for key in keys if choose({"1": 95, "2": 5}, key) == "2"}
    after = {key for key in keys if choose({"1": 80, "2": 20}, key) == "2"}
    assert before < after


def test_key_may_be_any_text() -> None:
    assert choose({"1": 1}, "\udcff ü \x00") == "1"


def test_without_a_file_there_is_no_routing(store: ModelStore) -> None:
    assert weights(store) is None


def test_rollback_returns_to_what_answered_before_and_a_second_one_back_again(store: ModelStore) -> None:
    set_weights(store, "tiny", {"1": 95, "2": 5})
    set_weights(store, "tiny", {"2": 1})
    roll_back(store, "tiny")
    assert weights(store) == {"1": 95, "2": 5}
    roll_back(store, "tiny")
    assert weights(store) == {"2": 1}


def test_first_rollback_pins_what_was_the_newest(store: ModelStore) -> None:
    set_weights(store, "tiny", {"1": 1})
    assert roll_back(store, "tiny").weights == {"10": 1}


def test_rollback_needs_something_to_return_to(store: ModelStore) -> None:
    with pytest.raises(RoutingError, match="never changed"):
        roll_back(store, "tiny")


def test_rollback_to_a_version_that_is_gone_is_refused(store: ModelStore) -> None:
    set_weights(store, "tiny", {"2": 1})
    (store.root / "tiny" / "10").rename(store.root / "away")
    with pytest.raises(RoutingError, match=r"Version 10 .* no longer"):
        roll_back(store, "tiny")
    assert weights(store) == {"2": 1}


def test_newest_answers_again_after_clearing(store: ModelStore) -> None:
    set_weights(store, "tiny", {"1": 1})
    clear(store, "tiny")
    assert weights(store) is None


@pytest.mark.parametrize(
    ("asked", "message"),
    [({"3": 1}, "no version 3"), ({"1": 0}, "nobody would answer"), ({"1": -1}, "greater than or equal")],
)
def test_weights_that_cannot_be_followed_are_refused(
    store: ModelStore, asked: dict[str, int], message: str
) -> None:
    with pytest.raises(RoutingError, match=message):
        set_weights(store, "tiny", asked)
    assert weights(store) is None


def test_unknown_model_has_no_routing_to_set(store: ModelStore) -> None:
    with pytest.raises(BundleNotFoundError):
        set_weights(store, "huge", {"1": 1})


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"weights": {"1": 1}}', b"x" * 70_000])
def test_damaged_file_says_so_and_how_to_mend_it(store: ModelStore, content: bytes) -> None:
    (store.root / "tiny" / ROUTING).write_bytes(content)
    with pytest.raises(RoutingError, match=r"routing\.json of 'tiny'"):
        read_routing(store, "tiny")


def test_store_that_cannot_be_written_says_so(store: ModelStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RoutingError, match="No space left"):
        set_weights(store, "tiny", {"1": 1})
    assert [path.name for path in (store.root / "tiny").iterdir() if path.is_file()] == []
