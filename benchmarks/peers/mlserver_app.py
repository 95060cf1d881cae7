"""The model on MLServer: a custom runtime behind the Open Inference Protocol, with adaptive batching.

After MLServer's documentation: "Custom Inference Runtimes" and "Adaptive Batching" (``max_batch_size``,
``max_batch_time``, without which it does not batch). An image comes in the protocol's JSON, as base64. The
model runs in a thread, so that the event loop goes on; where there are no parallel workers, that loop is
the server's.

Run by ``mlserver start``, with settings that the benchmark puts into its folder.
"""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
from mlserver import MLModel
from mlserver.codecs import Base64Codec, NumpyCodec, StringCodec
from mlserver.types import InferenceRequest, InferenceResponse
from work import Plan, Work


class Classifier(MLModel):
    """Each parallel worker has one."""

    async def load(self) -> bool:
        """Open the model."""
        self._work = Work(Plan.from_environment())
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Classify the images of one or, where MLServer has merged them, of several requests."""
        answers = await asyncio.to_thread(self._classify, Base64Codec.decode_input(payload.inputs[0]))
        rows = np.array([list(answer["probabilities"].values()) for answer in answers])
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                StringCodec.encode_output("label", [answer["label"] for answer in answers]),
                NumpyCodec.encode_output("probabilities", rows),
            ],
        )

    def _classify(self, images: list[bytes]) -> list[dict[str, Any]]:
        return self._work.classify([self._work.decode(image) for image in images])
