"""The model on TorchServe: a custom handler that runs the ONNX graph, with dynamic batching.

After TorchServe's documentation: "Custom Service" (a class with ``initialize`` and ``handle``, which gets a
batch's requests as a list) and "Batch inference" (``batchSize``, ``maxBatchDelay``). An image is the
request's body.

Run by itself, the file packs itself with torch-model-archiver and starts TorchServe with its own launcher,
on loopback, with its model API shut. (``holdfast torchserve`` runs Holdfast's own handler, which is on
TorchScript.)
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from work import Plan, Work

_CONFIG = """\
inference_address=http://127.0.0.1:{inference}
management_address=http://127.0.0.1:{management}
metrics_address=http://127.0.0.1:{metrics}
grpc_inference_address=127.0.0.1
grpc_management_address=127.0.0.1
grpc_inference_port=0
grpc_management_port=0
allowed_urls=none
enable_model_api=false
disable_token_authorization=true
disable_system_metrics=true
job_queue_size=1000
model_store={store}
load_models=classifier.mar
"""


class Handler:
    """Each worker process has one."""

    def __init__(self) -> None:
        self._work: Work | None = None

    def initialize(self, _context: Any) -> None:
        """Open the model."""
        self._work = Work(Plan.from_environment())

    def handle(self, requests: list[dict[str, Any]], _context: Any) -> list[dict[str, Any]]:
        """Classify the images of a batch's requests."""
        if self._work is None:
            raise RuntimeError("TorchServe did not initialise the handler.")
        return self._work.classify([self._work.decode(bytes(request["body"])) for request in requests])


def launch(plan: Plan, java: Path, ports: tuple[int, int]) -> None:
    """Pack this file, and become TorchServe.

    Args:
        plan: How to run it.
        java: Java's executable.
        ports: Of management and metrics.
    """
    here = Path.cwd()
    settings = {
        "minWorkers": plan.workers,
        "maxWorkers": plan.workers,
        "batchSize": plan.max_batch,
        "maxBatchDelay": round(plan.delay * 1000),
    }
    (here / "settings.yaml").write_text(json.dumps(settings))  # JSON is YAML
    command = [sys.executable, "-m", "model_archiver.model_packaging", "--model-name", "classifier"]
    command += ["--version", "1", "--handler", __file__, "--config-file", str(here / "settings.yaml")]
    subprocess.run([*command, "--export-path", str(here)], check=True)
    config = here / "config.properties"
    config.write_text(_CONFIG.format(inference=plan.port, management=ports[0], metrics=ports[1], store=here))
    os.environ["JAVA_HOME"] = str(java.parents[1])
    start = [sys.executable, "-m", "ts.model_server", "--start", "--foreground", "--ncs"]
    os.execv(sys.executable, [*start, "--ts-config", str(config)])


if __name__ == "__main__":
    launch(Plan.from_environment(), Path(sys.argv[3]), (int(sys.argv[1]), int(sys.argv[2])))
