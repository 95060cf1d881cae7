"""A shell in which a page's commands run one after another, and the gateways that they speak to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from support.transcripts.fitting import MismatchError, Names
from support.transcripts.markdown import Block, Step
from support.transcripts.output import fit_output

#: Seconds for one command.
PATIENCE = 90.0

_ADDRESS = re.compile(r"\b(?:127\.0\.0\.1|localhost):(\d+)")

#: What of one command the next one finds: variables, whether they are exported or not.
_SCRIPT = """\
set -a; [ -f "$0" ] && . "$0"
trap 'export -p > "$0"' EXIT
{command}
"""

#: A command that is not run as it stands, and what is done in its place.
StandIn = Callable[["Terminal", re.Match[str]], None]


@dataclass
class Terminal:
    """A folder, variables and addresses.

    Attributes:
        folder: Where commands run.
        ports: The addresses of the gateways that are there, by the port that pages give them.
        stand_ins: What is done in place of commands that need what is not there, by a pattern of the whole.
        names: What the ids that a page shows stand for.
    """

    folder: Path
    ports: dict[int, str]
    stand_ins: dict[str, StandIn] = field(default_factory=dict)
    names: Names = field(default_factory=Names)

    def __post_init__(self) -> None:
        """Forget the variables of the last one here."""
        Path(self._state).unlink(missing_ok=True)

    def play(self, block: Block) -> None:
        """Run a block's commands, and hold each to its output.

        Raises:
            MismatchError: One printed something else.
        """
        for step in block.steps:
            self.check(step)

    def check(self, step: Step) -> None:
        """Run a command, and hold what it prints to what is shown; where nothing is, it must succeed."""
        for pattern, stand_in in self.stand_ins.items():
            if match := re.fullmatch(pattern, step.command):
                stand_in(self, match)
                return
        code, printed = self.run(step.command)
        try:
            if step.shown:
                fit_output(self._here(step.shown), printed, self.names)
            elif code or '"type":"/problems#' in printed:
                raise MismatchError(f"no output is shown, and it ended with {code}")
        except (MismatchError, ValueError) as error:
            raise MismatchError(f"line {step.line}: {error}\n$ {step.command}\n{printed}") from None

    def run(self, command: str) -> tuple[int, str]:
        """Run a command by bash: its status, and what it printed, errors included."""
        done = subprocess.run(
            ["bash", "-c", _SCRIPT.format(command=self._here(self.names.now(command))), self._state],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE,
            check=False,
        )
        return done.returncode, done.stdout.decode("utf-8", "replace")

    def variable(self, name: str) -> str:
        """A variable that a command has set; empty if none has."""
        return self.run(f'printf %s "${{{name}-}}"')[1]

    def _here(self, text: str) -> str:
        def address(match: re.Match[str]) -> str:
            return self.ports.get(int(match[1]), match[0])

        return _ADDRESS.sub(address, text)

    @property
    def _state(self) -> str:
        return str(self.folder.parent / f".{self.folder.name}.variables")

    def _environment(self) -> dict[str, str]:
        """Python and `holdfast` are those that run the tests; curl draws no progress, as none is shown."""
        (self.folder.parent / ".curlrc").write_text("no-progress-meter\n", encoding="utf-8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HOLDFAST_")}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {
            **kept,
            "PATH": path,
            "CURL_HOME": str(self.folder.parent),
            "COLUMNS": "120",
            "OMP_NUM_THREADS": "1",
        }
