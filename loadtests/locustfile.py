"""Load on a gateway: users who classify the example images, one after another.

    locust -f loadtests/locustfile.py --host http://127.0.0.1:8000 --headless -u 16 -r 16 -t 30s

A user sends its next request when the last one is answered (a closed loop): latencies are those of a server
that is never further behind than it has users. Name a model with HOLDFAST_MODEL; by default it is the first
one that the gateway lists. An answer that is no classification is a failure, and so is one that differs from
what the same image got before.
"""

from __future__ import annotations

import os
from pathlib import Path
from random import Random
from typing import Any

from locust import FastHttpUser, constant, task

IMAGES = sorted((Path(__file__).parent.parent / "examples" / "images").glob("*.png"))


class Classifier(FastHttpUser):
    """Posts raw PNG bodies to the classify endpoint."""

    wait_time = constant(0)

    def on_start(self) -> None:
        """Find the model, and give this user an order of images of its own."""
        self.model = os.environ.get("HOLDFAST_MODEL") or self._first_model()
        self.bodies = [(path.stem, path.read_bytes()) for path in IMAGES]
        self.random = Random(id(self))
        self.answers: dict[str, str] = {}

    @task
    def classify(self) -> None:
        """One image; the same image must get the same class every time."""
        name, body = self.random.choice(self.bodies)
        with self.client.post(
            f"/v1/models/{self.model}/classify?top_k=1",
            data=body,
            headers={"Content-Type": "image/png"},
            name="classify",
            catch_response=True,
        ) as response:
            content: Any = response.json() if response.status_code == 200 else None
            if content is None:
                response.failure(f"status {response.status_code}: {response.text[:200]}")
                return
            label = content["predictions"][0]["label"]
            if self.answers.setdefault(name, label) != label:
                response.failure(f"{name} was {self.answers[name]} before and is {label} now")

    def _first_model(self) -> str:
        with self.client.get("/v1/models", name="models", catch_response=True) as response:
            if response.status_code != 200:
                raise RuntimeError(f"the gateway lists no models: status {response.status_code}")
            name: str = response.json()["models"][0]["name"]
            return name
