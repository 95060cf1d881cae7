"""Callers who have many images attacked, and come back for what that came to."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from locust import task

from loadtests import forms
from loadtests.answers import Answer
from loadtests.users.base import GatewayUser

_IMAGES = 2
_ENDS = ("succeeded", "failed", "cancelled")


class Campaigns(GatewayUser):
    """Begins jobs, follows them, reads their results, cancels them; nothing of it is left in the end."""

    TAGS = ("job",)
    weight = 1

    def on_start(self) -> None:
        """Remember which jobs there are to remove."""
        self._jobs: set[str] = set()

    @task(2)
    def from_beginning_to_end(self) -> None:
        """Create, follow until it has ended, read, delete."""
        job = self._create(attack="fgsm")
        if job is None:
            return
        self.ask("job events", "GET", f"/v1/jobs/{job}/events", rule=_judge_events)
        self.ask(
            "job result",
            "GET",
            f"/v1/jobs/{job}/result?images=false&partial=true",
            rule=lambda answer: _judge_result(answer, job),
        )
        self._remove(job)

    @task(1)
    def cancelled(self) -> None:
        """Create one that takes its time, look at it, and think better of it."""
        job = self._create(attack="pgd", steps="200", restarts="5", stop_at_success="false")
        if job is None:
            return
        self.ask("job", "GET", f"/v1/jobs/{job}", rule=lambda answer: _judge_job(answer, job))
        self._remove(job)

    @task(1)
    def listing(self) -> None:
        """Which jobs there are."""
        self.ask("jobs", "GET", "/v1/jobs?limit=20", rule=_judge_list)

    def on_stop(self) -> None:
        """Remove what is still there; this is not part of the load."""
        super().on_stop()
        client: Any = self.client
        for job in self._jobs:
            # Twice: the first time cancels what has not ended, the second deletes it.
            for _ in range(2):
                client.request("DELETE", f"/v1/jobs/{job}", headers=self._key, catch_response=True)
        self._jobs.clear()

    def _create(self, **fields: str) -> str | None:
        chosen = [self.pick() for _ in range(_IMAGES)]
        fields |= {"model": self.target.model.name, "epsilon": "8/255", "labels": "model"}
        made: list[str] = []
        # So that nobody who sends it again begins a second one.
        key = str(UUID(int=self.random.getrandbits(128)))

        def rule(answer: Answer) -> str | None:
            content: Any = answer.json()
            made.append(content["id"])
            if answer.headers["location"] != content["links"]["self"]:
                return "its location is not its own link"
            return None if content["images"] == _IMAGES else f"{content['images']} images of {_IMAGES}"

        self.ask(
            "job create",
            "POST",
            "/v1/jobs",
            forms.form(
                [("images", f"{n}-{name}.png", body) for n, (name, body) in enumerate(chosen)], fields
            ),
            rule=rule,
            status=202,
            headers={"Content-Type": forms.CONTENT_TYPE, "Idempotency-Key": key},
        )
        self._jobs.update(made)
        return made[0] if made else None

    def _remove(self, job: str) -> None:
        """Cancel it; and delete it, where that is what was done."""

        def rule(answer: Answer) -> str | None:
            outcome = answer.json()["outcome"]
            if outcome == "deleted":
                self._jobs.discard(job)
            return None if outcome in ("cancelled", "deleted") else f"the outcome {outcome}"

        for _ in range(2):
            if job in self._jobs:
                self.ask("job delete", "DELETE", f"/v1/jobs/{job}", rule=rule)


def _judge_job(answer: Answer, job: str) -> str | None:
    content: Any = answer.json()
    if content["id"] != job:
        return "it is another job"
    return None if content["state"] in ("queued", "running", *_ENDS) else f"the state {content['state']}"


def _judge_events(answer: Answer) -> str | None:
    lines = answer.body.decode().replace("\r\n", "\n").split("\n")
    kinds = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    if not kinds or kinds[0] != "queued":
        return f"the first event is {kinds[:1]}, not queued"
    if kinds[-1] != "succeeded":
        return f"the last event is {kinds[-1]}, not succeeded"
    for line in lines:
        if line.startswith("data: "):
            json.loads(line.removeprefix("data: "))
    return None


def _judge_result(answer: Answer, job: str) -> str | None:
    content: Any = answer.json()
    if content["job"] != job or not content["complete"]:
        return "it is not the whole result of the job"
    run = content["runs"][0]
    return None if run["images_done"] == _IMAGES else f"{run['images_done']} images of {_IMAGES}"


def _judge_list(answer: Answer) -> str | None:
    jobs: Any = answer.json()["jobs"]
    return None if all(len(each["id"]) > 0 for each in jobs) else "a job without an id"
