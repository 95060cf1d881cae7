"""The commands that a page shows, with the output below each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_FENCED = re.compile(r"^(?P<indent> *)```(?P<language>.*)\n(?P<body>(?s:.*?))^(?P=indent)```", re.MULTILINE)
_LANGUAGES = ("console", "bash", "sh", "shell")
_HEREDOC = re.compile(r"<<-?\s*'?\"?(\w+)'?\"?")
_PROMPT = "$ "


@dataclass(frozen=True)
class Step:
    """A command and what is shown below it.

    Attributes:
        command: As bash is given it, on one line or more.
        shown: The output that is shown; empty where none is.
        line: Where in the page the command stands, from 1.
    """

    command: str
    shown: str
    line: int

    @property
    def asks(self) -> int:
        """How many times it calls curl."""
        return len(re.findall(r"(?:^|[\s(|;&])curl\s", _without_comment(self.command), re.MULTILINE))


@dataclass(frozen=True)
class Block:
    """A fenced block of commands."""

    steps: tuple[Step, ...]

    @property
    def asks(self) -> int:
        """How many times its commands call curl."""
        return sum(step.asks for step in self.steps)


def blocks_of(page: Path) -> list[Block]:
    """Every block of commands in a page of Markdown.

    Raises:
        ValueError: A block mentions curl and none of its lines is a command, or it is no block of commands.
    """
    text = page.read_text(encoding="utf-8")
    blocks = []
    for found in _FENCED.finditer(text):
        first = text.count("\n", 0, found.start("body")) + 1
        if found["language"] not in _LANGUAGES:
            if re.search(r"^\s*(\$ )?curl ", found["body"], re.MULTILINE):
                raise ValueError(f"{page.name}:{first}: write ```console above a block that runs curl")
            continue
        lines = [line.removeprefix(found["indent"]) for line in found["body"].splitlines()]
        prompted = found["language"] == "console"
        if prompted and not lines[0].startswith(_PROMPT) and not re.search(r"\bcurl\b", found["body"]):
            continue
        block = Block(tuple(_steps(lines, first, prompted=prompted)))
        if re.search(r"\bcurl\b", found["body"]) and not block.asks:
            raise ValueError(f"{page.name}:{first}: no line of this block runs curl; begin it with '$ '")
        blocks.append(block)
    return blocks


def _steps(lines: list[str], first: int, *, prompted: bool) -> list[Step]:
    steps: list[Step] = []
    place = 0
    while place < len(lines):
        start = place
        if prompted and not lines[place].startswith(_PROMPT):
            raise ValueError(f"line {first + place}: '{lines[place]}' is above any command")
        place += 1
        if not prompted and (not lines[start].strip() or lines[start].startswith("#")):
            continue
        while place < len(lines) and _goes_on("\n".join(lines[start:place])):
            place += 1
        if heredoc := _HEREDOC.search(lines[place - 1]):
            place = lines.index(heredoc[1], place) + 1
        command = "\n".join(lines[start:place]).removeprefix(_PROMPT if prompted else "")
        below = place
        while prompted and place < len(lines) and not lines[place].startswith(_PROMPT):
            place += 1
        steps.append(Step(command, "\n".join(lines[below:place]).strip("\n"), first + start))
    return steps


def _goes_on(command: str) -> bool:
    """Whether bash would ask for another line: after a backslash or a pipe, or within quotes."""
    quote = before = ""
    for place, letter in enumerate(command):
        if quote:
            quote = "" if letter == quote and (before != "\\" or quote == "'") else quote
        elif letter in "'\"" and before != "\\":
            quote = letter
        elif letter == "#" and before.isspace():
            return _goes_on(command[:place] + command[place:].partition("\n")[2])
        before = "" if (before, letter) == ("\\", "\\") else letter
    return bool(quote) or command.rstrip(" ").endswith(("\\", "|", "&&", "||"))


def _without_comment(command: str) -> str:
    return re.sub(r"\s#\s.*", "", command)
