"""Callers who classify many images with one request."""

from __future__ import annotations

from locust import task

from loadtests import forms
from loadtests.users.classify import Classifying

_FEW, _MANY = 8, 32


class Batches(Classifying):
    """Sends forms of many files. The answer is to have a prediction for each, in order."""

    TAGS = (
        "classify",
        "batch",
    )
    weight = 2

    @task(3)
    def few(self) -> None:
        """A handful."""
        self._classify("classify batch of 8", _FEW)

    @task(1)
    def many(self) -> None:
        """Half of what a gateway takes at once."""
        self._classify("classify batch of 32", _MANY)

    def _classify(self, name: str, count: int) -> None:
        chosen = [self.pick() for _ in range(count)]
        model = self.target.model
        self.ask(
            name,
            "POST",
            f"{model.path}/classify?top_k=1",
            forms.form([("images", f"{image}.png", body) for image, body in chosen]),
            rule=lambda answer: self.check_classification(answer, model, [image for image, _ in chosen]),
            headers={"Content-Type": forms.CONTENT_TYPE},
        )
