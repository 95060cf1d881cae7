"""The gateway speaks TLS with a certificate that it is given, and says at once what is wrong with one."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from support.served import served
from support.tiny import solid_png

from holdfast.errors import UsageError
from serving.address import bind, url_of
from serving.gateway.app import create_app
from serving.server import GatewayServer
from serving.settings import Settings, load_settings

pytestmark = pytest.mark.anyio

PASSWORD = "a pass phrase"


@dataclass(frozen=True)
class Certificate:
    """Files of a certificate for 127.0.0.1, and a client's trust in who signed it."""

    certificate: Path
    key: Path
    both: Path
    encrypted: Path
    trust: ssl.SSLContext


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    directory = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    paths = [directory / name for name in ("cert.pem", "key.pem", "both.pem", "encrypted.pem")]
    issued.cert_chain_pems[0].write_to_path(paths[0])
    issued.private_key_pem.write_to_path(paths[1])
    issued.private_key_and_cert_chain_pem.write_to_path(paths[2])
    key = load_pem_private_key(issued.private_key_pem.bytes(), None)
    paths[3].write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(PASSWORD.encode()))
    )
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    return Certificate(*paths, trust)


@pytest.mark.parametrize("given", ["two files", "one file", "encrypted"])
async def test_requests_are_answered_over_tls(tiny_store: Path, made: Certificate, given: str) -> None:
    settings: dict[str, Any] = {
        "two files": {"tls_certificate": made.certificate, "tls_key": made.key},
        "one file": {"tls_certificate": made.both},
        "encrypted": {
            "tls_certificate": made.certificate,
            "tls_key": made.encrypted,
            "tls_key_password": PASSWORD,
        },
    }[given]
    async with served(tiny_store, **settings) as gateway:
        url = f"https://127.0.0.1:{gateway.port}"
        async with httpx.AsyncClient(base_url=url, verify=made.trust) as client:
            response = await client.post(
                "/v1/models/tiny/classify", content=solid_png("red"), headers={"Content-Type": "image/png"}
            )
            assert response.json()["predictions"][0]["label"] == "red"
            assert (await client.get("/")).status_code == 200
            refused = await client.get("/livez", headers={"X": "a" * 40_000})
            assert refused.json()["type"] == "/problems#headers-too-large"


async def test_who_does_not_trust_the_certificate_or_speaks_no_tls_gets_nothing(
    tiny_store: Path, made: Certificate
) -> None:
    async with served(tiny_store, tls_certificate=made.both) as gateway:
        for url, trust in (("https", ssl.create_default_context()), ("http", made.trust)):
            async with httpx.AsyncClient(verify=trust) as client:
                with pytest.raises(httpx.TransportError):
                    await client.get(f"{url}://127.0.0.1:{gateway.port}/livez")


def test_old_tls_is_not_spoken(tiny_store: Path, made: Certificate) -> None:
    settings = Settings(model_store=tiny_store, tls_certificate=made.both)
    config = GatewayServer(create_app(settings), settings, lambda: None).config
    config.load()
    assert config.ssl is not None
    assert config.ssl.minimum_version == ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        (("nowhere.pem", None, None), "HOLDFAST_TLS_CERTIFICATE .* no such file"),
        (("cert.pem", "nowhere.pem", None), "HOLDFAST_TLS_KEY .* no such file"),
        (("cert.pem", None, None), "cannot be used with its private key"),
        (("cert.pem", "other.pem", None), "cannot be used with its private key"),
        (("cert.pem", "encrypted.pem", None), "cannot be used with its private key"),
        (("cert.pem", "encrypted.pem", "wrong"), "cannot be used with its private key"),
        (("rubbish.pem", None, None), "cannot be used with its private key"),
    ],
)
def test_certificate_that_cannot_be_used_is_told_before_anything_is_loaded(
    tiny_store: Path, made: Certificate, files: tuple[str, str | None, str | None], complaint: str
) -> None:
    directory = made.certificate.parent
    (directory / "rubbish.pem").write_text("rubbish")
    trustme.CA().issue_cert("127.0.0.1").private_key_pem.write_to_path(directory / "other.pem")
    certificate, key, password = files
    settings = Settings(
        model_store=tiny_store,
        tls_certificate=directory / certificate,
        tls_key=directory / key if key else None,
        tls_key_password=password,  # type: ignore[arg-type]
    )
    with pytest.raises(UsageError, match=complaint) as caught:
        GatewayServer(create_app(settings), settings, lambda: None)
    assert "wrong" not in caught.value.message


def test_key_without_a_certificate_is_refused() -> None:
    with pytest.raises(UsageError, match=r"HOLDFAST_TLS_KEY is of no use without HOLDFAST_TLS_CERTIFICATE"):
        load_settings(tls_key=Path("key.pem"))


def test_address_of_a_server_with_tls_is_https() -> None:
    with bind("127.0.0.1", 0, allow_others=False) as listener:
        assert url_of(listener, "https").startswith("https://127.0.0.1:")


def test_password_is_not_shown_by_accident() -> None:
    settings = Settings(tls_certificate=Path("x"), tls_key_password=PASSWORD)  # type: ignore[arg-type]
    assert PASSWORD not in repr(settings)
