"""Callers who want their images classified behind a defence."""

from __future__ import annotations

from urllib.parse import quote

from locust import task

from loadtests.answers import Answer
from loadtests.target import Model
from loadtests.users.classify import Classifying


class Defended(Classifying):
    """Names one of the defences that a model offers, such as imt and imt+, each in its turn.

    Where no model of the gateway has any, it asks for ``none`` by name.
    """

    TAGS = (
        "classify",
        "defence",
    )
    weight = 2

    @task
    def defended(self) -> None:
        """One small image."""
        model = self.target.defended
        defence = self.random.choice([each for each in model.defences if each != "none"] or ["none"])
        name, body = self.pick()
        self.ask(
            f"classify behind {defence}",
            "POST",
            f"{model.path}/classify?top_k=1&defence={quote(defence)}",
            body,
            rule=lambda answer: self._check(answer, model, defence, name),
            headers={"Content-Type": "image/png"},
        )

    def _check(self, answer: Answer, model: Model, defence: str, name: str) -> str | None:
        used = answer.json()["defence"]
        return f"the defence {used}" if used != defence else self.check_classification(answer, model, [name])
