"""A command that is told to end before it is ready to take it."""

from __future__ import annotations

import subprocess
import sys

TOLD_AT_ONCE = """
import os, signal
from serving.commands.stopping import end_when_told
end_when_told()
os.kill(os.getpid(), signal.SIGTERM)
raise AssertionError("it goes on")
"""


def test_it_ends_as_one_that_was_asked_to() -> None:
    done = subprocess.run([sys.executable, "-c", TOLD_AT_ONCE], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
