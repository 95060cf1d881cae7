"""The model on BentoML: a service with adaptive batching.

After BentoML's documentation: "Adaptive batching" (``batchable=True``, a list in and a list out) and
"Parallelize requests handling" (``workers``). Its dispatcher chooses by itself how long to wait for a
batch; the longest latency that it is allowed, which it answers with 503 when it is exceeded, is left at its
default of a minute. An image comes as base64 in JSON: a file in a list would be written to disk first.

Run by ``bentoml serve``, which imports :class:`Classifier`.
"""

from __future__ import annotations

import base64
from typing import Any

import bentoml
from work import Plan, Work

_PLAN = Plan.from_environment()


@bentoml.service(workers=_PLAN.workers, traffic={"timeout": 60})
class Classifier:
    """Each worker process has one."""

    def __init__(self) -> None:
        self.work = Work(_PLAN)

    @bentoml.api(batchable=True, max_batch_size=_PLAN.max_batch)
    def classify(self, images: list[str]) -> list[dict[str, Any]]:
        """Classify images; BentoML calls it in a thread, with those of several requests."""
        return self.work.classify([self.work.decode(base64.b64decode(image)) for image in images])
