"""A real MLServer with bundles of a store, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
from support.gateway_process import free_port
from support.peers import ROOT, interpreter

PATIENCE = 90.0


class MLServer:
    """One MLServer; it can be stopped and started again on the same port."""

    def __init__(self, directory: Path, graphs: Mapping[str, Path]) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self._python = interpreter("mlserver")
        settings = {
            "host": "127.0.0.1",
            "http_port": self.port,
            "grpc_port": free_port(),
            "metrics_port": free_port(),
            "parallel_workers": 0,
        }
        (directory / "settings.json").write_text(json.dumps(settings), encoding="utf-8")
        for name, graph in graphs.items():
            model, _, version = name.partition("/")
            parameters = {"uri": str(graph)} | ({"version": version} if version else {})
            (directory / model).mkdir(exist_ok=True)
            described = {"name": model, "implementation": "onnx_runtime.OnnxBundle", "parameters": parameters}
            path = directory / model / "model-settings.json"
            path.write_text(json.dumps(described), encoding="utf-8")

    def start(self) -> None:
        """Start it and wait until it is ready."""
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests" / "support" / "peers")}
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._python, "-c", "from mlserver.cli import main; main()", "start", "."],
                cwd=self.directory,
                env=environment,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                if httpx.get(f"{self.url}/v2/health/ready", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            assert self.process.poll() is None, (self.directory / "log").read_text()
            assert time.monotonic() < deadline, (self.directory / "log").read_text()
            time.sleep(0.1)

    def stop(self) -> None:
        """Kill it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def mlserver(directory: Path, graphs: Mapping[str, Path]) -> Iterator[MLServer]:
    """Run MLServer with graphs by NAME or NAME/VERSION; ``directory`` is for its settings."""
    server = MLServer(directory, graphs)
    try:
        server.start()
        yield server
    finally:
        server.stop()
