"""Workers beside the gateway are there as long as they are wanted, whatever keeps them from starting."""

from __future__ import annotations

import asyncio
import errno
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from serving.jobs import supervisor as supervisor_module
from serving.jobs.supervisor import Supervisor
from serving.settings import Settings

pytestmark = pytest.mark.anyio

#: Seconds to wait for what has to happen.
PATIENCE = 10.0


@pytest.mark.parametrize(
    "refusal",
    [
        OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        RuntimeError(
            "can't start new thread"
        ),  # to wait for the process: what asyncio says at the same limit
    ],
    ids=["no more processes", "no memory", "no more threads"],
)
async def test_worker_that_cannot_be_started_is_tried_again(
    refusal: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tries, told, began = 0, [], asyncio.Event()
    start = asyncio.create_subprocess_exec

    async def start_the_third_time(*_command: str, **options: Any) -> asyncio.subprocess.Process:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise refusal
        began.set()
        return await start(sys.executable, "-c", "", **options)

    async def is_wanted() -> bool:
        return not began.is_set()

    async def note_lost(worker: str) -> None:
        told.append(worker)

    monkeypatch.setattr(supervisor_module, "_FIRST_PAUSE", 0.01)
    monkeypatch.setattr(asyncio, "create_subprocess_exec", start_the_third_time)
    kept = Supervisor(Settings(model_store=tmp_path, jobs_workers=1), is_wanted, note_lost)
    kept.need()
    try:
        await asyncio.wait_for(began.wait(), PATIENCE)
    finally:
        await kept.stop()
    assert tries == 3
    said = [record.getMessage() for record in caplog.records if "could not be started" in record.getMessage()]
    assert len(said) == 2
    assert str(refusal) in said[0]
    assert kept.processes == []
    assert told == []
