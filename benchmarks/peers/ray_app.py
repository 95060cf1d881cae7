"""The model on Ray Serve: a deployment with dynamic request batching.

After Ray Serve's documentation: "Dynamic Request Batching" (``serve.batch`` in an async method) and
"Performance Tuning". What blocks goes to a thread, so that a replica reads the next requests while the
model runs. No request waits for company (``batch_wait_timeout_s=0``): what has come while a batch ran is
the next batch.
"""

from __future__ import annotations

import asyncio
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray import serve
from starlette.requests import Request
from starlette.responses import JSONResponse
from work import Plan, Work

_PLAN = Plan.from_environment()


@serve.deployment(num_replicas=_PLAN.workers, max_ongoing_requests=256, ray_actor_options={"num_cpus": 0.1})
class Classifier:
    """Each replica is a process."""

    def __init__(self) -> None:
        self.work = Work(Plan.from_environment())

    async def __call__(self, request: Request) -> JSONResponse:
        """Classify the image that is the request's body."""
        return JSONResponse(await self.classify(self.work.decode(await request.body())))

    @serve.batch(max_batch_size=_PLAN.max_batch, batch_wait_timeout_s=_PLAN.delay)
    async def classify(self, images: list[NDArray[np.float32]]) -> list[dict[str, Any]]:
        """Classify the images of several requests."""
        return await asyncio.to_thread(self.work.classify, images)


if __name__ == "__main__":
    stop = threading.Event()
    ray.init(
        include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1", _temp_dir=str(Path.cwd())
    )
    serve.start(http_options=serve.HTTPOptions(host="127.0.0.1", port=_PLAN.port))
    serve.run(Classifier.bind(), name="classifier", route_prefix="/classify")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_details: stop.set())
    stop.wait()
    ray.shutdown()
