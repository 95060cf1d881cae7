"""Fixtures of the gateway's tests."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support.gateway import Gateway, gateway


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of whoever runs the tests reaches them."""
    for name in [name for name in os.environ if name.startswith("HOLDFAST_")]:
        monkeypatch.delenv(name)


@pytest.fixture
async def tiny(tiny_store: Path, anyio_backend: str) -> AsyncIterator[Gateway]:
    """A ready gateway over the tiny bundle, with every setting as it is by default."""
    async with gateway(tiny_store) as started:
        yield started
