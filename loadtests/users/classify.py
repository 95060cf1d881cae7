"""Callers who classify one image at a time."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

from locust import task

from loadtests import forms, images
from loadtests.answers import Answer
from loadtests.target import Model
from loadtests.users.base import GatewayUser


class Classifying(GatewayUser):
    """What those have in common who classify."""

    abstract = True

    def check_classification(self, answer: Answer, model: Model, questions: list[str]) -> str | None:
        """What is wrong with a classification.

        Args:
            answer: The answer.
            model: The model that was asked.
            questions: What was asked of each image, in order; the same question has the same answer every
                time.
        """
        content: Any = answer.json()
        predictions = content["predictions"]
        if content["model"] != model.name or len(predictions) != len(questions):
            return f"{len(predictions)} predictions of {content['model']} for {len(questions)} images"
        who = f"{content['model']}/{content['version']}, {content['defence']}"
        for question, prediction in zip(questions, predictions, strict=True):
            if prediction["label"] != model.classes[prediction["class_index"]]:
                return f"class {prediction['class_index']} is not {prediction['label']}"
            if not 0 < prediction["probability"] <= 1:
                return f"a probability of {prediction['probability']}"
            if prediction["top_k"][0]["label"] != prediction["label"]:
                return "the first of the most probable classes is not the most probable one"
            fault = self.run_state.memory.check(f"{question} by {who}", prediction["label"])
            if fault is not None:
                return fault
        return None

    def classify(self, name: str, question: str, body: bytes, content_type: str, query: str = "") -> None:
        """Classify one image with the model of this run."""
        model = self.target.model
        self.ask(
            name,
            "POST",
            f"{model.path}/classify?top_k=1{query}",
            body,
            rule=lambda answer: self.check_classification(answer, model, [question]),
            headers={"Content-Type": content_type},
        )


class ClassifySmall(Classifying):
    """Sends the example images, most often as they are."""

    TAGS = (
        "classify",
        "small",
    )
    weight = 6

    @task(8)
    def as_body(self) -> None:
        """As curl's ``--data-binary`` does."""
        name, body = self.pick()
        self.classify("classify small", name, body, "image/png")

    @task(1)
    def as_form(self) -> None:
        """As a browser does."""
        name, body = self.pick()
        form = forms.form([("image", f"{name}.png", body)])
        self.classify("classify small, form", name, form, forms.CONTENT_TYPE)

    @task(1)
    def as_json(self) -> None:
        """As programs do that know nothing but JSON."""
        name, body = self.pick()
        text = json.dumps({"image": b64encode(body).decode()}).encode()
        self.classify("classify small, JSON", name, text, "application/json")


class ClassifyLarge(Classifying):
    """Sends what telephones and screens make: megapixels, of which the gateway keeps a few thousand."""

    TAGS = (
        "classify",
        "large",
    )
    weight = 2

    @classmethod
    def prepare(cls) -> None:
        """Make the images."""
        images.large()

    @task
    def photograph(self) -> None:
        """A JPEG or PNG file of up to three megapixels."""
        name, (content_type, body) = self.random.choice(list(images.large().items()))
        self.classify("classify large", name, body, content_type)
