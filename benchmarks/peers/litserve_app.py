"""The model on LitServe: a LitAPI with dynamic batching, and ZeroMQ between the server and its workers.

After LitServe's documentation: "Batching" (``max_batch_size``, ``batch_timeout``, ``predict`` on a list)
and ``fast_queue``, which it advises from a hundred requests per second on. There is an API server for each
worker, as is its default. An image comes as base64 in JSON: of a raw body it reads JSON or forms only.
"""

from __future__ import annotations

import base64
from typing import Any

import litserve as ls
import numpy as np
from numpy.typing import NDArray
from work import Plan, Work


class Classifier(ls.LitAPI):
    """Each hook runs in a worker process."""

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        """Open the model."""
        self.work = Work(Plan.from_environment())

    def decode_request(self, request: dict[str, str]) -> NDArray[np.float32]:
        """One request's image."""
        return self.work.decode(base64.b64decode(request["image"]))

    def batch(self, inputs: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Left as a list: :class:`Work` stacks it."""
        return inputs

    def predict(self, x: list[NDArray[np.float32]]) -> list[dict[str, Any]]:
        """A batch's answers."""
        return self.work.classify(x)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """An answer each."""
        return output

    def encode_response(self, output: dict[str, Any]) -> dict[str, Any]:
        """JSON as it is."""
        return output


if __name__ == "__main__":
    plan = Plan.from_environment()
    server = ls.LitServer(
        Classifier(max_batch_size=plan.max_batch, batch_timeout=plan.delay),
        accelerator="cpu",
        workers_per_device=plan.workers,
        fast_queue=True,
    )
    server.run(host="127.0.0.1", port=plan.port, generate_client_file=False, log_level="warning")
