"""Run the README's tour, and compare what it prints with what the README shows; numbers may differ.

    HOLDFAST_URL=http://127.0.0.1:8000 python clients/python/scripts/tour.py

in a checkout's root, by any Python that has the client, with a gateway that serves the checkout's models. It
writes the tour's files to the current folder.
"""

from __future__ import annotations

import contextlib
import io
import platform
import re
import sys
from pathlib import Path
from typing import Any

README = Path(__file__).parents[1] / "README.md"


def blocks(page: str) -> list[tuple[str, str]]:
    """Each block of Python with the output that the page shows below it."""
    return re.findall(r"```python\n(.*?)```\n(?:\n```text\n(.*?)```\n)?", page, re.DOTALL)


def printed(codes: list[str]) -> list[str]:
    """What pieces of one program print, one after another."""
    names: dict[str, Any] = {"__name__": "tour"}
    outputs = []
    for code in codes:
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(compile(code, str(README), "exec"), names)
        outputs.append(output.getvalue())
    names["client"].close()
    return outputs


def shape(text: str) -> str:
    """A text without its numbers, which another processor rounds differently, and without repeated lines."""
    lines = [re.sub(r"\d+(\.\d+)?", "#", line) for line in text.splitlines()]
    return "\n".join(line for place, line in enumerate(lines) if lines[place - 1 : place] != [line])


def differences() -> list[str]:
    """Where the tour prints something else than the README shows."""
    told = blocks(README.read_text(encoding="utf-8"))
    outputs = printed([code for code, _ in told])
    return [
        f"{code}\nprints\n{output}\nand not\n{shown}"
        for output, (code, shown) in zip(outputs, told, strict=True)
        if shape(output) != shape(shown)
    ]


if __name__ == "__main__":
    found = differences()
    print(f"Python {platform.python_version()}:", "as shown" if not found else "\n\n".join(found))
    sys.exit(bool(found))
