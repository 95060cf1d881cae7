"""What takes long to make, made by one of the test processes for all of them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A directory of this run of pytest that ``make`` has filled, in whichever process came first.

    What it raises, it raises in each process: nothing half made is left for the next.
    """
    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent  # which the processes of one run share
    made, making = base / f"once-{name}", base / f"making-{name}"
    with FileLock(base / f"once-{name}.lock"):
        if not made.is_dir():
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir()
            make(making)
            making.rename(made)
    return made
