"""Asks a server by MLServer's own codec and types; runs in MLServer's environment. Prints JSON."""

import json
import sys
import urllib.request

import numpy as np
from mlserver.codecs import NumpyCodec, StringCodec
from mlserver.types import (
    InferenceRequest,
    InferenceResponse,
    MetadataModelResponse,
    MetadataServerResponse,
    RepositoryIndexResponse,
)


def ask(url: str, content: bytes | None = None) -> bytes:
    """One request."""
    request = urllib.request.Request(url, content, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        body: bytes = response.read()
        return body


def main(url: str, model: str) -> dict[str, object]:
    """What MLServer's types make of a server's answers."""
    images = np.random.default_rng(0).uniform(0, 1, (5, 3, 8, 8)).astype(np.float32)
    request = InferenceRequest(id="mine", inputs=[NumpyCodec.encode_input("images", images)])
    content = request.model_dump_json(exclude_none=True).encode()
    response = InferenceResponse.model_validate_json(ask(f"{url}/v2/models/{model}/infer", content))
    outputs = {output.name: output for output in response.outputs}
    metadata = MetadataModelResponse.model_validate_json(ask(f"{url}/v2/models/{model}"))
    index = RepositoryIndexResponse.model_validate_json(ask(f"{url}/v2/repository/index", b"{}"))
    return {
        "images": images.tolist(),
        "server": MetadataServerResponse.model_validate_json(ask(f"{url}/v2")).name,
        "index": [entry.name for entry in index.root],
        "input": metadata.inputs[0].shape,
        "id": response.id,
        "logits": NumpyCodec.decode_output(outputs["logits"]).tolist(),
        "label": StringCodec.decode_output(outputs["label"]),
    }


print(json.dumps(main(*sys.argv[1:])))
