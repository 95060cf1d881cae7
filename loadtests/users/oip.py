"""Callers who speak the Open Inference Protocol, with tensors as JSON and as bytes."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import numpy as np
from locust import task
from numpy.typing import NDArray

from loadtests import images
from loadtests.answers import Answer, Judge
from loadtests.users.base import GatewayUser


class OpenInference(GatewayUser):
    """Sends tensors to ``/v2``, as Triton's and KServe's clients do."""

    TAGS = ("oip",)
    weight = 3

    @task(2)
    def as_bytes(self) -> None:
        """The image as little-endian bytes after the JSON, and probabilities back as such."""
        name, tensor = self._tensor()
        values = tensor.astype("<f4").tobytes()
        described = {"parameters": {"binary_data_size": len(values)}}
        wanted: list[dict[str, Any]] = [
            {"name": "label"},
            {"name": "probabilities", "parameters": {"binary_data": True}},
        ]
        head = self._request(tensor, described, wanted)

        def rule(answer: Answer) -> str | None:
            length = int(answer.headers["inference-header-content-length"])
            content = json.loads(answer.body[:length])
            probabilities = np.frombuffer(answer.body[length:], dtype="<f4")
            return self._check(content, probabilities, name)

        self._infer("infer, bytes", head + values, rule, {"Inference-Header-Content-Length": str(len(head))})

    @task(1)
    def as_json(self) -> None:
        """All of it as JSON."""
        name, tensor = self._tensor()
        values = {"data": tensor.ravel().tolist()}
        body = self._request(tensor, values, [{"name": "label"}, {"name": "probabilities"}])

        def rule(answer: Answer) -> str | None:
            content = answer.json()
            return self._check(content, np.asarray(_output(content, "probabilities")["data"]), name)

        self._infer("infer, JSON", body, rule)

    @task(1)
    def metadata(self) -> None:
        """What the model takes and gives."""

        def rule(answer: Answer) -> str | None:
            shape = answer.json()["inputs"][0]["shape"][1:]
            model = self.target.model
            wanted = [model.channels, model.height, model.width]
            return None if shape == wanted else f"the shape {shape} and not {wanted}"

        self.ask("model metadata", "GET", f"/v2/models/{quote(self.target.model.name)}", rule=rule)

    def _tensor(self) -> tuple[str, NDArray[np.float32]]:
        model = self.target.model
        name, _ = self.pick()
        return name, images.tensor(name, model.channels, model.height, model.width)

    def _request(
        self, tensor: NDArray[np.float32], values: dict[str, Any], outputs: list[dict[str, Any]]
    ) -> bytes:
        described = {"name": "images", "datatype": "FP32", "shape": list(tensor.shape), **values}
        return json.dumps({"id": "loadtest", "inputs": [described], "outputs": outputs}).encode()

    def _infer(self, name: str, body: bytes, rule: Judge, extra: dict[str, str] | None = None) -> None:
        path = f"/v2/models/{quote(self.target.model.name)}/infer"
        headers = {"Content-Type": "application/json", **(extra or {})}
        self.ask(name, "POST", path, body, rule=rule, headers=headers)

    def _check(self, content: Any, probabilities: NDArray[Any], name: str) -> str | None:
        model = self.target.model
        label = _output(content, "label")["data"][0]
        if probabilities.shape != (len(model.classes),) or abs(probabilities.sum() - 1) > 1e-3:
            return "the probabilities are not one for each class, or not 1 together"
        if label != model.classes[int(probabilities.argmax())]:
            return f"the label {label} is not the most probable class"
        who = f"{content['model_name']}/{content['model_version']}, {content['parameters']['defence']}"
        return self.run_state.memory.check(f"the tensor of {name} by {who}", label)


def _output(content: Any, name: str) -> Any:
    found = [each for each in content["outputs"] if each["name"] == name]
    return found[0]
