"""Locust in processes of its own, because it patches the standard library; and a stand-in for a gateway."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

ROOT = Path(__file__).parents[2]
LOCUSTFILE = ROOT / "loadtests" / "locustfile.py"


@dataclass(frozen=True)
class Run:
    """What a run of locust came to.

    Attributes:
        code: Its exit code.
        out: What it said.
        log: What it said on standard error.
        summary: The summary as JSON; empty where there is none.
    """

    code: int
    out: str
    log: str
    summary: dict[str, Any]

    def requests(self, name: str) -> dict[str, Any]:
        """The row of a name; empty where nothing of that name was asked."""
        rows: list[dict[str, Any]] = self.summary["requests"]
        return next((row for row in rows if row["name"] == name), {})

    def names(self) -> set[str]:
        """Everything that was asked."""
        return {row["name"] for row in self.summary["requests"]} - {"all"}


def start_locust(url: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start locust on a gateway."""
    return subprocess.Popen(
        [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", url, "--only-summary", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str], summary: Path | None = None, patience: float = 150.0) -> Run:
    """Wait for a locust to end."""
    try:
        out, log = process.communicate(timeout=patience)
    finally:
        process.kill()
    found = json.loads(summary.read_text()) if summary is not None and summary.exists() else {}
    return Run(process.returncode, out, log, found)


def locust(url: str, folder: Path, *arguments: str, **environment: str) -> Run:
    """Run locust to its end."""
    (run,) = locusts([(url, arguments)], folder, **environment)
    return run


def locusts(runs: Sequence[tuple[str, Sequence[str]]], folder: Path, **environment: str) -> list[Run]:
    """Several runs beside one another, each of a gateway and options: most of their time they wait."""
    summaries = [folder / f"summary-{uuid4()}.json" for _ in runs]
    processes = [
        start_locust(url, "--headless", "--summary-json", str(summary), *arguments, **environment)
        for (url, arguments), summary in zip(runs, summaries, strict=True)
    ]
    return [finish(process, summary) for process, summary in zip(processes, summaries, strict=True)]


#: What a stand-in answers to the n-th classification, from 0, at an address: status, headers, document.
Script = Callable[[int, str], tuple[int, dict[str, str], Any]]


@contextmanager
def stand_in(script: Script) -> Iterator[str]:
    """A server that says it has the tiny model, and answers classifications as a script does: its URL."""
    numbers = iter(range(10**9))
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            model = {"name": "tiny", "versions": ["1"], "defences": ["none", "imt", "imt+"]}
            if self.path == "/v1/models":
                self._answer(200, {}, {"default": "tiny", "models": [model]})
            else:
                shape = {"channels": 3, "height": 8, "width": 8}
                classes = ["red", "green", "blue"]
                self._answer(200, {}, {**model, "version": "1", "classes": classes, "input": shape})

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            with lock:  # one at a time, as a server with one worker
                status, headers, content = script(next(numbers), self.path)
                if status:
                    self._answer(status, headers, content)
                else:
                    self.close_connection = True

        def _answer(self, status: int, headers: dict[str, str], content: Any) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def classification(label: str = "red", defence: str = "none") -> dict[str, Any]:
    """What the tiny model answers to one image."""
    index = ["red", "green", "blue"].index(label)
    prediction = {"label": label, "class_index": index, "probability": 0.9}
    return {
        "model": "tiny",
        "version": "1",
        "defence": defence,
        "predictions": [{**prediction, "top_k": [prediction]}],
    }
