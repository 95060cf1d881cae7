"""Callers who have an image attacked while they wait."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from locust import task

from loadtests import forms
from loadtests.answers import Answer
from loadtests.users.base import GatewayUser

_EPSILON = 8 / 255
#: What rounding an image may add to its distance.
_ROUNDING = 1e-6
_PNG = b"\x89PNG\r\n\x1a\n"
_OUTCOMES = ("fooled", "held", "wrong before")


class Attackers(GatewayUser):
    """Asks for attacks within 8/255, whose result must be within 8/255."""

    TAGS = ("attack",)
    weight = 2

    @task(2)
    def projected_gradient(self) -> None:
        """PGD of a few steps, with all that can be said about it."""
        name, body = self.pick()
        query = "attack=pgd&steps=5&epsilon=8/255&top_k=1"
        self._attack("attack pgd", name, query, body, "image/png")

    @task(1)
    def one_step(self) -> None:
        """FGSM, from a form."""
        name, body = self.pick()
        form = forms.form([("image", f"{name}.png", body)], {"attack": "fgsm", "epsilon": "8/255"})
        self._attack("attack fgsm", name, "", form, forms.CONTENT_TYPE)

    @task(1)
    def image_only(self) -> None:
        """PGD, of which only the image is wanted."""
        _, body = self.pick()
        self.ask(
            "attack pgd, image",
            "POST",
            f"{self.target.model.path}/attack?attack=pgd&steps=5&epsilon=8/255",
            body,
            rule=_judge_image,
            headers={"Content-Type": "image/png", "Accept": "image/png"},
        )

    def _attack(self, name: str, image: str, query: str, body: bytes, content_type: str) -> None:
        def rule(answer: Answer) -> str | None:
            content: Any = answer.json()
            reached = content["reached_in_8_bits"]["linf"]
            if reached > _EPSILON + _ROUNDING:
                return "the adversarial image is further than 8/255 away"
            if content["outcome"] not in _OUTCOMES:
                return f"the outcome {content['outcome']}"
            if not b64decode(content["adversarial"]["base64"]).startswith(_PNG):
                return "the adversarial image is no PNG file"
            before = content["predictions"][content["defence"]]["before"]["label"]
            who = f"{content['model']}/{content['version']}, {content['defence']}"
            return self.run_state.memory.check(f"{image} by {who}", before)

        path = f"{self.target.model.path}/attack" + (f"?{query}" if query else "")
        self.ask(name, "POST", path, body, rule=rule, headers={"Content-Type": content_type})


def _judge_image(answer: Answer) -> str | None:
    if not answer.body.startswith(_PNG):
        return "the answer is no PNG file"
    outcome = answer.headers["holdfast-outcome"]
    return None if outcome.replace("-", " ") in _OUTCOMES else f"the outcome {outcome}"
