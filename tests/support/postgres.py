"""A real PostgreSQL, from Debian's package, in a directory of its own and on no network."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

#: Seconds to wait for it to answer, or to be gone.
PATIENCE = 60.0

_NOBODY = 65534


def find_binaries() -> Path | None:
    """Where ``initdb`` and ``postgres`` are, of the newest version that is installed."""
    on_path = shutil.which("initdb")
    found = [Path(on_path).parent] if on_path else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))
    return next((path for path in reversed(found) if (path / "postgres").exists()), None)


class PostgresServer:
    """A running server.

    Args:
        directory: Where its socket is.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._databases = 0

    def url(self, name: str = "postgres") -> str:
        """The address of one of its databases."""
        return f"postgresql://postgres@/{name}?host={self._directory}"

    def make_database(self, options: str = "") -> str:
        """A new, empty database: its address."""
        self._databases += 1
        name = f"holdfast_{self._databases}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} {options}".encode())
        return self.url(name)


@contextmanager
def running_postgres(binaries: Path) -> Iterator[PostgresServer]:
    """Start a server; it refuses to run as root, and then runs as nobody."""
    directory = Path(tempfile.mkdtemp(prefix="holdfast-pg-"))
    as_nobody = []
    if os.geteuid() == 0:
        os.chown(directory, _NOBODY, _NOBODY)
        as_nobody = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    data = directory / "data"
    try:
        subprocess.run(
            [*as_nobody, binaries / "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=directory,
        )
        process = subprocess.Popen(
            [*as_nobody, binaries / "postgres", "-D", data, "-k", directory, "-c", "listen_addresses=", "-F"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=directory,
        )
        try:
            server = PostgresServer(directory)
            _wait(server, process)
            yield server
        finally:
            process.send_signal(signal.SIGQUIT)  # at once: nothing in it is needed any more
            process.wait(PATIENCE)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _wait(server: PostgresServer, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + PATIENCE
    while True:
        try:
            psycopg.connect(server.url()).close()
        except psycopg.OperationalError:
            if process.poll() is not None or time.monotonic() > until:
                raise
            time.sleep(0.1)
        else:
            return
