"""Fixtures of the attack workers' tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from holdfast.bundle import Bundle, ModelStore
from serving.attacking.pool import AttackPool


@pytest.fixture(scope="session")
def tiny_model(tiny_store: Path) -> Bundle:
    """The tiny bundle, opened."""
    return ModelStore(tiny_store).open("tiny")


@pytest.fixture
async def pool(anyio_backend: str) -> AsyncIterator[AttackPool]:
    """A pool of one worker, in front of which two may wait; it ends with the test."""
    started = AttackPool(workers=1, queue=2, grace=0.5)
    yield started
    await started.close()
    assert started.pids == []
