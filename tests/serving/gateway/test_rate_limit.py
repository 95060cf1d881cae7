"""A caller has so many requests in so much time, and is told how it stands with every answer."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.gateway import Gateway, assert_problem, gateway

from serving.gateway.rate_limit import RateLimiter
from serving.keys.store import KeyStore
from serving.keys.token import Token
from serving.rates import Rate

pytestmark = pytest.mark.anyio


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limiter(clock: Clock) -> RateLimiter:
    return RateLimiter("key", clock=clock)


def test_quota_may_come_at_once_and_then_no_more(limiter: RateLimiter) -> None:
    rate = Rate(3, 60)
    assert [limiter.take("a", rate)[0] for _ in range(5)] == [True, True, True, False, False]


def test_requests_are_granted_anew_one_by_one(limiter: RateLimiter, clock: Clock) -> None:
    rate = Rate(3, 60)
    for _ in range(3):
        limiter.take("a", rate)
    clock.now = 19.9
    assert not limiter.take("a", rate)[0]
    clock.now = 20.0
    assert [limiter.take("a", rate)[0] for _ in range(2)] == [True, False]
    clock.now = 1000.0
    assert [limiter.take("a", rate)[0] for _ in range(4)] == [True, True, True, False]


def test_steady_caller_within_its_rate_is_never_refused(limiter: RateLimiter, clock: Clock) -> None:
    rate = Rate(7, 1)
    for step in range(1000):
        clock.now = step / 7
        assert limiter.take("a", rate)[0]


def test_caller_that_asks_without_end_gets_its_rate_and_no_more(limiter: RateLimiter, clock: Clock) -> None:
    rate = Rate(10, 1)
    granted = 0
    for step in range(100_000):
        clock.now = step / 1000
        granted += limiter.take("a", rate)[0]
    assert granted == pytest.approx(10 + 100 * 10, abs=1)


def test_callers_do_not_share_a_quota(limiter: RateLimiter) -> None:
    rate = Rate(1, 60)
    assert limiter.take("a", rate)[0]
    assert limiter.take("b", rate)[0]
    assert not limiter.take("a", rate)[0]


def test_standing_is_told_with_every_request(limiter: RateLimiter, clock: Clock) -> None:
    rate = Rate(3, 60)
    for remaining, reset in ((2, 20), (1, 40), (0, 60), (0, 60)):
        _, standing = limiter.take("a", rate)
        assert (standing.remaining, round(standing.reset)) == (remaining, reset)
    assert round(standing.retry_after) == 20
    assert standing.headers() == [
        (b"ratelimit-policy", b'"key";q=3;w=60'),
        (b"ratelimit", b'"key";r=0;t=60'),
    ]
    clock.now = 20.0
    assert limiter.peek("a", rate)[1].remaining == 1


def test_looking_counts_nothing(limiter: RateLimiter) -> None:
    rate = Rate(1, 60)
    assert [limiter.peek("a", rate)[0] for _ in range(3)] == [True] * 3
    assert limiter.take("a", rate)[0]


def test_only_so_many_callers_are_remembered(clock: Clock) -> None:
    limiter = RateLimiter("address", max_callers=100, clock=clock)
    rate = Rate(1, 60)
    limiter.take("first", rate)
    for caller in range(99):
        limiter.take(str(caller), rate)
    assert not limiter.take("first", rate)[0]  # heard of again, it is not the one to be forgotten
    limiter.take("another", rate)
    assert not limiter.take("first", rate)[0]
    assert limiter.take("0", rate)[0]
    assert len(limiter._full) == 100


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys.json")


async def ask(started: Gateway, token: Token | None = None, **headers: str) -> tuple[int, str, str]:
    shown = {"Authorization": f"Bearer {token.reveal()}"} if token else {}
    response = await started.client.get("/v1/models", headers=shown | headers)
    get = response.headers.get
    return response.status_code, get("ratelimit-policy", ""), get("ratelimit", "")


async def test_key_is_limited_by_the_setting_and_told_so(tiny_store: Path, keys: KeyStore) -> None:
    token, _ = keys.create("a", ("classify",))
    other, _ = keys.create("b", ("classify",))
    async with gateway(tiny_store, keys_file=keys.path, rate_limit="2/minute") as started:
        assert await ask(started, token) == (200, '"key";q=2;w=60', '"key";r=1;t=30')
        assert (await ask(started, token))[0] == 200
        response = await started.client.get(
            "/v1/models", headers={"Authorization": f"Bearer {token.reveal()}"}
        )
        problem = assert_problem(response, 429, "rate-limited")
        assert 25 <= int(response.headers["retry-after"]) <= 30
        assert re.fullmatch(r'"key";r=0;t=\d+', response.headers["ratelimit"])
        assert response.headers["ratelimit-policy"] == '"key";q=2;w=60'
        assert problem["violated-policies"] == ["key"]
        assert "2/minute" in problem["detail"]
        assert (await ask(started, other))[0] == 200
        figures = started.services.metrics.render().decode()
    assert 'holdfast_rate_limited_requests_total{policy="key"} 1.0' in figures


async def test_keys_own_rate_comes_before_the_setting(tiny_store: Path, keys: KeyStore) -> None:
    fast, _ = keys.create("a", ("classify",), rate=Rate(100, 1))
    async with gateway(tiny_store, keys_file=keys.path, rate_limit="1/day") as started:
        assert [(await ask(started, fast))[:2] for _ in range(3)] == [(200, '"key";q=100;w=1')] * 3


async def test_answer_that_is_an_error_tells_the_standing_too(tiny_store: Path, keys: KeyStore) -> None:
    token, _ = keys.create("a", ("classify",))
    async with gateway(tiny_store, keys_file=keys.path, rate_limit="2/minute") as started:
        response = await started.client.get(
            "/v1/models/none", headers={"Authorization": f"Bearer {token.reveal()}"}
        )
        assert response.status_code == 404
        assert response.headers["ratelimit"] == '"key";r=1;t=30'


async def test_without_a_limit_no_header_speaks_of_one(tiny: Gateway) -> None:
    assert await ask(tiny) == (200, "", "")


async def test_callers_without_keys_are_limited_by_address_where_a_setting_says_so(tiny_store: Path) -> None:
    async with gateway(tiny_store, rate_limit_anonymous="1/minute") as started:
        assert await ask(started) == (200, '"address";q=1;w=60', '"address";r=0;t=60')
        assert (await ask(started))[0] == 429
        for _ in range(3):
            assert (await started.client.get("/livez")).status_code == 200


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
async def test_who_has_many_addresses_of_ipv6_is_still_one_caller(
    tiny_store: Path, first: str, second: str, same: bool
) -> None:
    async with gateway(tiny_store, rate_limit_anonymous="1/minute") as started:

        async def nothing() -> dict[str, object]:
            return {"type": "http.request", "body": b"", "more_body": False}

        statuses = [
            (
                await started.call(
                    nothing, method="GET", path="/v1/models", raw_path=b"/v1/models", client=(host, 1)
                )
            ).status
            for host in (first, second)
        ]
    assert statuses == [200, 429 if same else 200]
