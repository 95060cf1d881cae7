"""Write the synchronous client from the asynchronous one.

    python scripts/unasync.py           # write
    python scripts/unasync.py --check   # exit code 1 if what is there is not what would be written

Only ``gather`` is written by hand, as threads are not tasks.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from ruff.__main__ import find_ruff_bin

PACKAGE = Path(__file__).parents[1] / "src" / "holdfast_client"
MODULES = ("client", "jobs", "models", "transport")

#: What becomes of what, in this order.
WORDS = (
    (r"^(\s*)async (def|with|for) ", r"\1\2 "),
    (r"\(await ((?:[^()]|\((?:[^()]|\([^()]*\))*\))+)\)(?=\.)", r"\1"),  # (await f(x)).y is f(x).y
    (r"\bawait ", ""),
    (r"(>>> |\.\.\. +)async (with|for) ", r"\1\2 "),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\bAsyncIterator\b", "Iterator"),
    (r"\bAsyncGenerator\[(.+), None\]", r"Generator[\1, None, None]"),
    (r"\bAsyncGenerator\b", "Generator"),
    (r"\bhttpx\.Async", "httpx."),
    (r"\bAsync(Holdfast|Transport|Jobs|Models|Attacks)\b", r"\1"),
    (r"holdfast_client\._async\b", "holdfast_client._sync"),
    (r"\b__aenter__\b", "__enter__"),
    (r"\b__aexit__\b", "__exit__"),
    (r"\baclose\b", "close"),
    (r"\baiter_bytes\b", "iter_bytes"),
    (r"\baread\b", "read"),
    (r"\banyio\.sleep\b", "time.sleep"),
    (r"\nimport anyio\n", "\n"),
    (r"number of tasks", "number of threads"),
    (r"httpx\.ASGITransport\(app\)", "httpx.MockTransport(answer)"),
)


def synchronous(source: str) -> str:
    """The synchronous twin of a module."""
    for pattern, replacement in WORDS:
        source = re.sub(pattern, replacement, source, flags=re.MULTILINE)
    source = "# Written from _async by scripts/unasync.py; change it there.\n" + source
    # What is a loop only because an asynchronous generator has no `yield from` is none in the other one.
    for command in (["check", "--fix-only", "--select", "I,UP028", "--unsafe-fixes"], ["format"]):
        source = _ruff(*command, source=source)
    return source


def _ruff(*command: str, source: str) -> str:
    place = str(PACKAGE / "_sync" / "module.py")  # by its place, ruff knows the settings
    done = subprocess.run(
        [find_ruff_bin(), *command, "--quiet", "--stdin-filename", place, "-"],
        input=source,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def main() -> int:
    """Write or check; the exit code."""
    check = "--check" in sys.argv[1:]
    stale = []
    for module in MODULES:
        written = synchronous((PACKAGE / "_async" / f"{module}.py").read_text(encoding="utf-8"))
        place = PACKAGE / "_sync" / f"{module}.py"
        if place.exists() and place.read_text(encoding="utf-8") == written:
            continue
        stale.append(module)
        if not check:
            place.write_text(written, encoding="utf-8")
    print(f"{'stale' if check else 'written'}: {', '.join(stale) or 'none'}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
