"""The gate: who asks, whether they may, and whether they ask too often."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from starlette.types import Scope

from serving.gateway import rate_limit
from serving.gateway.local_callers import LocalCallers
from serving.gateway.metrics import Metrics
from serving.gateway.problem_kinds import MISSING_SCOPE, OVERLOADED, RATE_LIMITED, UNAUTHENTICATED
from serving.gateway.problems import Problem, retry_after
from serving.gateway.rate_limit import RateLimiter
from serving.keys.keyring import BusyError, Keyring, RefusedKeyError
from serving.keys.record import KeyRecord
from serving.keys.token import Token
from serving.rates import Rate

if TYPE_CHECKING:
    from serving.gateway.access import Access

#: Keys that are none may be tried this often from one address. Each costs a hash, and without an end to that
#: whoever knows no key could keep those waiting who do.
_FAILURES = Rate(30, 60)

_REALM = 'Bearer realm="holdfast"'

#: All of these are told alike, so that nobody learns which keys there are or were.
_INVALID = "This key is not valid."


class Gate:
    """Lets a request in, or raises the problem that it is answered with.

    Args:
        keyring: The keys; ``None`` where nobody is asked for one.
        metrics: Where refusals are counted.
        rate: How often each key may ask, where it has no rate of its own; ``None`` for no limit.
        anonymous_rate: How often each address may ask where nobody is asked for a key.
        metrics_open: Whether the metrics are for anybody.
        local: What keeps pages of other hosts away where nobody is asked for a key.
    """

    def __init__(
        self,
        keyring: Keyring | None,
        metrics: Metrics,
        *,
        rate: Rate | None = None,
        anonymous_rate: Rate | None = None,
        metrics_open: bool = False,
        local: LocalCallers | None = None,
    ) -> None:
        self.keyring = keyring
        self._metrics = metrics
        self._rate = rate
        self._anonymous_rate = anonymous_rate
        self._metrics_open = metrics_open
        self._local = local
        self._by_key = RateLimiter("key")
        self._by_address = RateLimiter("address")
        self._failures = RateLimiter("address")

    async def admit(self, scope: Scope, access: Access) -> None:
        """Let a request in. The id of its key is in the scope's state from then on, as ``key_id``.

        Args:
            scope: The request's ASGI scope.
            access: What its route asks for.

        Raises:
            Problem: The caller shows no key that is valid, or one without the scope, or asks too often.
        """
        if access == "metrics":
            access = "open" if self._metrics_open else "admin"
        if access == "open":
            return
        if self.keyring is None:
            if self._local is not None:
                self._local.check(scope, _REALM)
            if self._anonymous_rate is not None:
                self._count(scope, self._by_address, _address_of(scope), self._anonymous_rate)
            return
        text = _shown(scope)
        if text is None:
            raise self._unauthenticated("missing", "This address needs a key, and the request has none.")
        record = self.keyring.find_verified(text)
        if record is None:
            record = await self._verify(self.keyring, scope, text)
        scope["state"]["key_id"] = record.id
        if access != "any" and access not in record.scopes:
            raise self._missing_scope(access, record)
        rate = record.rate or self._rate
        if rate is not None:
            self._count(scope, self._by_key, record.id, rate)

    def close(self) -> None:
        """Give back what the keys need."""
        if self.keyring is not None:
            self.keyring.close()

    async def _verify(self, keyring: Keyring, scope: Scope, text: str) -> KeyRecord:
        """A key that was not seen before."""
        token = Token.parse(text)
        if token is None:
            raise self._unauthenticated("malformed", _INVALID)
        address = _address_of(scope)
        allowed, standing = self._failures.peek(address, _FAILURES)
        if not allowed:
            self._metrics.count_auth_failure("throttled")
            raise Problem(
                RATE_LIMITED,
                "Too many keys that are not valid came from this address.",
                retry_after(standing.retry_after),
            )
        try:
            return await keyring.verify(token)
        except RefusedKeyError as error:
            self._failures.take(address, _FAILURES)
            raise self._unauthenticated(error.reason, _INVALID) from None
        except BusyError:
            raise Problem(
                OVERLOADED, "The server is verifying as many new keys as it can.", retry_after(1)
            ) from None

    def _unauthenticated(
        self,
        reason: Literal["missing", "malformed", "unknown", "wrong", "expired", "revoked"],
        detail: str,
    ) -> Problem:
        self._metrics.count_auth_failure(reason)
        # RFC 6750, section 3.1: who shows no key is told of no error.
        challenge = _REALM if reason == "missing" else f'{_REALM}, error="invalid_token"'
        detail = f"{detail} {UNAUTHENTICATED.advice}"
        return Problem(UNAUTHENTICATED, detail, {"WWW-Authenticate": challenge})

    def _missing_scope(self, access: Access, record: KeyRecord) -> Problem:
        self._metrics.count_auth_failure("scope")
        has = ", ".join(record.scopes)
        return Problem(
            MISSING_SCOPE,
            f"This address needs a key with the scope {access}; this one has {has}.",
            {"WWW-Authenticate": f'{_REALM}, error="insufficient_scope", scope="{access}"'},
            {"scope": access},
        )

    def _count(self, scope: Scope, limiter: RateLimiter, caller: str, rate: Rate) -> None:
        allowed, standing = limiter.take(caller, rate)
        rate_limit.note(scope, standing)
        if allowed:
            return
        self._metrics.count_rate_limited(standing.policy)
        whose = "with this key" if standing.policy == "key" else "from this address"
        raise Problem(
            RATE_LIMITED,
            f"More requests come {whose} than the {rate} that are allowed.",
            retry_after(standing.retry_after),
            {"violated-policies": [standing.policy]},
        )


def _shown(scope: Scope) -> str | None:
    """The key that a request shows, if it shows one."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, key = value.partition(b" ")
            return key.strip().decode("latin-1") if scheme.lower() == b"bearer" else ""
    return None


def _address_of(scope: Scope) -> str:
    client = scope.get("client")
    return _network_of(client[0]) if client else ""


@lru_cache(4096)
def _network_of(host: str) -> str:
    """What one caller has of addresses: all of IPv4's one, and of IPv6 the 64 bits that are handed out."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.version == 6:
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return host
