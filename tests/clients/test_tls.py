"""The clients trust the certificates that they are told to, and no others."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
import trustme
from support.served import served
from support.tiny import solid_png
from support.twins import Kind, twin

import holdfast_client as sdk

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_authority_of_ones_own_is_trusted_where_it_is_given_and_nowhere_else(
    kind: Kind, tiny_store: Path, tmp_path: Path
) -> None:
    authority = trustme.CA()
    certificate = tmp_path / "both.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(certificate)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with served(tiny_store, tls_certificate=certificate) as gateway:
        url = f"https://127.0.0.1:{gateway.port}"
        async with twin(kind, url, verify=trust) as client:
            assert (await client.do(lambda each: each.classify(solid_png("red")))).label == "red"
        async with twin(kind, url, max_retries=0) as client:
            with pytest.raises(sdk.APIConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.do(lambda each: each.models.list())
        async with twin(kind, url.replace("https", "http"), max_retries=0) as client:
            with pytest.raises(sdk.APIConnectionError):
                await client.do(lambda each: each.models.list())
