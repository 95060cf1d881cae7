"""Run the `holdfast` command: in this process where only its answer counts, in its own where more does."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from holdfast.cli import main


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


def invoke(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Outcome:
    """Run a command in this process."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as exit_:
        main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    code = exit_.value.code
    return Outcome(code if isinstance(code, int) else int(code is not None), captured.out, captured.err)


def command(*arguments: str | Path) -> list[str]:
    """The command line that runs `holdfast` with this Python."""
    return [sys.executable, "-m", "holdfast", *(str(argument) for argument in arguments)]


def spawn(*arguments: str | Path, cwd: Path | None = None, **environment: str) -> Outcome:
    """Run a command in a process of its own, with ``environment`` added to this one's."""
    done = subprocess.run(
        command(*arguments),
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
        env={**os.environ, **environment},
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def spawn_without(missing: str, *arguments: str | Path) -> Outcome:
    """Run a command in a process of its own where the package ``missing`` cannot be imported."""
    program = f"import sys; sys.modules[{missing!r}] = None; from holdfast.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *(str(argument) for argument in arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)
