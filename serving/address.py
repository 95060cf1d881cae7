"""Where the gateway listens: a socket that is bound before anything is loaded."""

from __future__ import annotations

import errno
import ipaddress
import socket

from holdfast.errors import HoldfastError, UsageError


class AddressError(HoldfastError):
    """The gateway cannot listen where it should."""


def bind(host: str, port: int, *, allow_others: bool) -> socket.socket:
    """Bind a socket to an address.

    Args:
        host: A name or an address.
        port: A port; 0 takes one that is free.
        allow_others: Whether the address may be one that other machines reach, as those who call show keys.

    Raises:
        UsageError: The address is not loopback and nobody allowed that.
        AddressError: There is no such address, or it is taken.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise AddressError(
            f"There is no address {host!r} to listen on.", hint="Use 127.0.0.1, ::1 or localhost."
        ) from None
    # A name may stand for several addresses; IPv4 is what most people type.
    family, kind, protocol, _, address = min(found, key=lambda entry: entry[0] != socket.AF_INET)
    if not allow_others and not ipaddress.ip_address(str(address[0]).split("%")[0]).is_loopback:
        raise UsageError(
            f"{host} can be reached from other machines, and this gateway asks nobody who they are: it "
            "has no API keys.",
            hint="Make a key with 'holdfast keys create --scope classify', and start the gateway with the "
            "same HOLDFAST_KEYS_FILE. Where the network is closed to others, as inside a container, set "
            "HOLDFAST_ALLOW_UNAUTHENTICATED=1 to listen all the same.",
        )
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise _explain(error, host, port) from None
    return listener


def url_of(listener: socket.socket, scheme: str = "http") -> str:
    """The URL at which a bound socket can be reached from this machine."""
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(str(host).split("%")[0])
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _explain(error: OSError, host: str, port: int) -> AddressError:
    if error.errno == errno.EADDRINUSE:
        return AddressError(
            f"Port {port} on {host} is in use.",
            hint="Stop what uses it, or choose another with --port or HOLDFAST_PORT; 0 takes a free one.",
        )
    if error.errno == errno.EACCES:
        return AddressError(
            f"Port {port} may only be used by the administrator.",
            hint="Choose one above 1023 with --port or HOLDFAST_PORT.",
        )
    return AddressError(f"{host} port {port} cannot be listened on: {error.strerror}.")
