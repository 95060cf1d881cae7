"""Campaigns over HTTP: forms with files, and a worker's part done in the test's own process."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
from support.gateway import Gateway
from support.jobs import Backlog
from support.tiny import solid_png

JOBS = "/v1/jobs"

#: A red that a budget of 64/255 takes away, and a green that it does not.
WEAK_RED, STRONG_GREEN = (140, 100, 60), (0, 255, 0)

#: One attack on the one model there is.
PGD = {"model": "tiny", "attack": "pgd", "epsilon": "64/255", "steps": "5"}


def zipped(files: Mapping[str, bytes], **options: Any) -> bytes:
    """A zip file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **{"compression": zipfile.ZIP_DEFLATED, **options}) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
    return buffer.getvalue()


def arrays(**named: np.ndarray) -> bytes:
    """An ``.npz`` file."""
    buffer = io.BytesIO()
    np.savez(buffer, **named)
    return buffer.getvalue()


def colours(red: int = 2, green: int = 1) -> bytes:
    """A zip file with a folder for each class."""
    files = {f"red/{n}.png": solid_png((140 + n, 100, 60)) for n in range(red)}
    return zipped(files | {f"green/{n}.png": solid_png((0, 255 - n, 0)) for n in range(green)})


async def submit(
    gateway: Gateway,
    *files: bytes | tuple[str, bytes],
    headers: Mapping[str, Any] | None = None,
    **fields: str | list[str],
) -> httpx.Response:
    """Send a campaign as a form; by default PGD on the one model there is."""
    parts: list[tuple[str, Any]] = []
    for name, value in {**PGD, **fields}.items():
        parts += [(name, (None, each)) for each in ([value] if isinstance(value, str) else value)]
    for number, file in enumerate(files):
        parts.append(("images", file if isinstance(file, tuple) else (f"{number}.bin", file)))
    return await gateway.client.post(JOBS, files=parts, headers=dict(headers or {}))


async def submitted(gateway: Gateway, *files: bytes | tuple[str, bytes], **options: Any) -> dict[str, Any]:
    """A campaign that is taken on: the job."""
    response = await submit(gateway, *files, **options)
    assert response.status_code == 202, response.text
    job: dict[str, Any] = response.json()
    return job


def work(gateway: Gateway, job: str) -> None:
    """Carry a job out, as a worker would."""
    settings = gateway.services.settings
    backlog = Backlog(settings.jobs_database, settings.model_store)
    try:
        backlog.carry_out(job)
    finally:
        backlog.close()
