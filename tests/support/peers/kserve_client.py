"""Asks a server by KServe's own client; runs in KServe's environment. Prints JSON."""

import asyncio
import json
import sys

import httpx
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig


async def main(url: str, model: str) -> dict[str, object]:
    """Everything that the client can ask."""
    images = np.random.default_rng(0).uniform(0, 1, (5, 3, 8, 8)).astype(np.float32)
    answers: dict[str, object] = {"images": images.tolist()}
    async with InferenceRESTClient(RESTConfig(protocol="v2", timeout=30)) as client:
        answers["live"] = await client.is_server_live(url)
        answers["ready"] = await client.is_server_ready(url)
        answers["model_ready"] = await client.is_model_ready(url, model)
        answers["other_ready"] = await client.is_model_ready(url, "cat")
        for binary in (False, True):
            tensor = InferInput("images", list(images.shape), "FP32")
            tensor.set_data_from_numpy(images, binary_data=binary)
            parameters = {"binary_data_output": binary}
            request = InferRequest(model, [tensor], request_id="mine", parameters=parameters)
            response = await client.infer(url, request, model_name=model)
            answers["bytes" if binary else "json"] = {
                "id": response.id,
                "model": response.model_name,
                "logits": next(o for o in response.outputs if o.name == "logits").as_numpy().tolist(),
            }
        try:
            await client.infer(url, request, model_name="cat")
        except httpx.HTTPStatusError as error:
            answers["error"] = str(error)
    return answers


print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
