"""The gateway listens on loopback, unless somebody says deliberately that it shall not."""

from __future__ import annotations

import socket

import pytest

from holdfast.errors import UsageError
from serving.address import AddressError, bind, url_of


@pytest.mark.parametrize(
    ("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("127.8.9.1", "127.8.9.1")]
)
def test_loopback_is_bound(host: str, shown: str) -> None:
    with bind(host, 0, allow_others=False) as listener:
        port = listener.getsockname()[1]
        assert port > 0
        assert url_of(listener) == f"http://{shown}:{port}"


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_loopback_of_ipv6_is_bound() -> None:
    with bind("::1", 0, allow_others=False) as listener:
        assert url_of(listener).startswith("http://[::1]:")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "10.1.2.3"])
def test_address_that_others_reach_is_refused_with_the_way_to_allow_it(host: str) -> None:
    with pytest.raises(UsageError, match="no API keys") as caught:
        bind(host, 0, allow_others=False)
    assert "HOLDFAST_ALLOW_UNAUTHENTICATED=1" in caught.value.hint


def test_address_that_others_reach_is_bound_where_it_is_allowed() -> None:
    with bind("0.0.0.0", 0, allow_others=True) as listener:
        assert listener.getsockname()[0] == "0.0.0.0"
        assert url_of(listener).startswith("http://127.0.0.1:")


def test_port_in_use_names_the_fix() -> None:
    with bind("127.0.0.1", 0, allow_others=False) as taken:
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(AddressError, match=f"Port {port} on 127.0.0.1 is in use") as caught:
            bind("127.0.0.1", port, allow_others=False)
    assert "HOLDFAST_PORT" in caught.value.hint


def test_name_that_is_no_address_is_refused() -> None:
    with pytest.raises(AddressError, match="'no such host'"):
        bind("no such host", 0, allow_others=False)


def test_address_that_is_not_this_machines_is_refused() -> None:
    with pytest.raises(AddressError, match=r"192\.0\.2\.1"):
        bind("192.0.2.1", 0, allow_others=True)
