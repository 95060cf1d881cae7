#!/usr/bin/env python3
"""Run the commands whose outputs a document shows, and write the outputs into it.

    python scripts/outputs.py docs/results.md            # all of them, in order
    python scripts/outputs.py docs/results.md fs-1 mat-  # those alone that have one of these words

A place in a document is a pair of comments, the first with the command:

    <!-- begin output: holdfast evaluate --table fs-1 --images 500 --no-save --format markdown -->
    <!-- end output -->

Each output is written as soon as it is there, so that an interrupted run has lost one command's work at most
(and of ``holdfast evaluate`` not even that: what was measured is kept).
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_PLACE = re.compile(
    r"(?P<begin><!-- begin output: (?P<command>[^\n]+) -->\n)(?P<shown>.*?)(?P<end><!-- end output -->)",
    re.DOTALL,
)
#: What a command may begin with, and how it is run here.
_PROGRAMS = {"holdfast": (sys.executable, "-m", "holdfast"), "python": (sys.executable,)}


def commands(text: str) -> list[str]:
    """The commands of a document's places, in order.

    Raises:
        ValueError: A place has no end, a command is there twice, or is none that may be run.
    """
    found = [match["command"] for match in _PLACE.finditer(text)]
    if len(found) != text.count("<!-- begin output:") or len(found) != text.count("<!-- end output -->"):
        raise ValueError("a place without a beginning, a command or an end")
    for command in found:
        if found.count(command) > 1:
            raise ValueError(f"twice: {command}")
        if shlex.split(command)[0] not in _PROGRAMS:
            raise ValueError(f"a command begins with {' or '.join(_PROGRAMS)}, not so: {command}")
    return found


def filled(text: str, command: str, output: str) -> str:
    """The document with a command's output in its place."""

    def put(match: re.Match[str]) -> str:
        if match["command"] != command:
            return match[0]
        return f"{match['begin']}\n{output.strip()}\n\n{match['end']}"

    return _PLACE.sub(put, text)


def run(command: str) -> str:
    """A command's standard output; its progress goes where this program's does.

    Raises:
        subprocess.CalledProcessError: It failed.
    """
    program, *arguments = shlex.split(command)
    words = [*_PROGRAMS[program], *arguments]
    return subprocess.run(words, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout


def main(arguments: Sequence[str]) -> int:
    """Fill a document; 1 where a command fails."""
    if not arguments or arguments[0].startswith("-"):
        sys.stderr.write(__doc__ or "")
        return 2
    document, words = Path(arguments[0]), arguments[1:]
    found = commands(document.read_text(encoding="utf-8"))
    chosen = [each for each in found if not words or any(word in each for word in words)]
    for place, command in enumerate(chosen, 1):
        sys.stderr.write(f"[{place}/{len(chosen)}] {command}\n")
        try:
            output = run(command)
        except subprocess.CalledProcessError as error:
            sys.stderr.write(f"Error: it ended with {error.returncode}; its place is as it was.\n")
            return 1
        # Read again: a long command leaves time to write on the document.
        document.write_text(filled(document.read_text(encoding="utf-8"), command, output), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
