"""Start a gateway, load it, say what that came to, and stop all of it: what ``make loadtest`` does.

    python loadtests/run.py                                        # the mix, for about a minute
    python loadtests/run.py --store model_store -- --workload open -u 100 --shape steps ClassifySmall

What follows ``--`` goes to locust in place of the mix. The gateway listens on a free port of the loopback
interface and has a database for jobs of its own, which goes with it. The exit code is locust's: 0 where
everything is within its thresholds, 1 where something is not, 2 where nothing could be measured, 130 after
Ctrl-C.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

_ROOT = Path(__file__).resolve().parent.parent
# The benchmarks start and end servers in the same way.
sys.path.insert(0, str(_ROOT / "benchmarks"))

from report import run  # noqa: E402
from servers import Server, announces, environment, gateway_command  # noqa: E402

_LOCUSTFILE = _ROOT / "loadtests" / "locustfile.py"

#: Everybody, in four steps; who classifies one small image is to be answered in time.
_MIX = (
    *("-u", "20", "-t", "60s", "--shape", "steps", "--step-users", "5", "--think", "1"),
    *("--knee-of", "classify small", "--knee-p99", "500"),
    *("--p99", "classify small=2000"),
)
#: Seconds for locust to end and write its summary after Ctrl-C.
_GRACE = 45.0
#: What shells say of a command that was ended by Ctrl-C.
_INTERRUPTED = 130


def main(
    arguments: Annotated[list[str] | None, typer.Argument(help="Locust's, in place of the mix.")] = None,
    store: Annotated[Path, typer.Option(help="The model store.")] = _ROOT / "model_store",
    reports: Annotated[Path, typer.Option(help="Where CSV files, report.html and summary.json go.")] = _ROOT
    / "runs"
    / "loadtest",
) -> None:
    """Start a gateway, load it, and stop it."""
    with (
        tempfile.TemporaryDirectory(prefix="holdfast-loadtest-") as directory,
        _interruptible(),
        _gateway(store, Path(directory)) as server,
    ):
        code = _locust(f"http://{server.host}", arguments or list(_MIX), reports)
    sys.exit(code)


def _gateway(store: Path, directory: Path) -> Server:
    own = environment() | {"HOLDFAST_JOBS_DATABASE": f"sqlite:///{directory}/jobs/jobs.sqlite"}
    return Server("gateway", gateway_command(store, 0), announces("Ready:"), directory, environment=own)


def _locust(url: str, arguments: list[str], reports: Path) -> int:
    """Run locust, on a gateway; its exit code."""
    reports.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "locust", "--locustfile", str(_LOCUSTFILE), "--host", url]
    command += ["--headless", "--only-summary", "--csv", str(reports / "report")]
    command += ["--html", str(reports / "report.html"), "--summary-json", str(reports / "summary.json")]
    # In a session of its own, so that it gets a signal once: from here.
    process = subprocess.Popen([*command, *arguments], stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        code = _wait(process)
    finally:
        with contextlib.suppress(ProcessLookupError):  # workers that it has left behind, if any
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    sys.stdout.write(f"\nReports: {reports}\n")
    return code


def _wait(process: subprocess.Popen[bytes]) -> int:
    """The exit code of a locust that was interrupted; who interrupts it again does not wait for it."""
    with contextlib.suppress(subprocess.TimeoutExpired, KeyboardInterrupt):
        process.wait(_GRACE)
    return _INTERRUPTED


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM does what Ctrl-C does, also where Ctrl-C was switched off, as a shell does for jobs."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    run(main)
