"""The certificate that the gateway shows, checked before anything slow begins."""

from __future__ import annotations

import ssl
from pathlib import Path

from holdfast.errors import UsageError


def check_certificate(certificate: Path, key: Path | None, password: str | None) -> None:
    """See to it that a certificate and its private key can be used.

    Args:
        certificate: PEM file with the certificate and those that lead to its root.
        key: PEM file with the private key; in the certificate's file if ``None``.
        password: What the private key is encrypted with, if it is.

    Raises:
        UsageError: They cannot.
    """
    for variable, path in (("HOLDFAST_TLS_CERTIFICATE", certificate), ("HOLDFAST_TLS_KEY", key)):
        if path is not None and not path.is_file():
            raise UsageError(f"{variable} is {str(path)!r}: there is no such file.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certificate, key, password or "")
    except (OSError, ValueError) as error:
        raise UsageError(
            f"The certificate {certificate} cannot be used with its private key: "
            f"{getattr(error, 'reason', None) or error}.",
            hint="Both are to be PEM, the key the certificate's own, and HOLDFAST_TLS_KEY_PASSWORD what it "
            "is encrypted with.",
        ) from None
