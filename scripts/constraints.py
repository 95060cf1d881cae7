#!/usr/bin/env python3
"""Pin everything that Holdfast and its extras install, at the newest versions that fit, in constraints.txt.

Run it with the Python whose pip shall choose: the oldest supported one, so that the pins suit newer ones too.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# The versions that the tests pass with; pyproject.toml says which others may do. One set of pins serves every
# extra and every supported Python. Written by `make constraints`; not to be edited by hand.
"""


def main() -> None:
    resolve = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    result = subprocess.run(
        [*resolve, "--report", "-", ".[test,serve-gpu]"], cwd=ROOT, check=True, stdout=subprocess.PIPE
    )
    metadata = [entry["metadata"] for entry in json.loads(result.stdout)["install"] if not entry["is_direct"]]
    pins = sorted((re.sub(r"[-_.]+", "-", each["name"]).lower(), each["version"]) for each in metadata)
    lines = [f"{name}=={version}\n" for name, version in pins]
    (ROOT / "constraints.txt").write_text(HEADER + "".join(lines), encoding="utf-8")


main()
