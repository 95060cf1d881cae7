"""Campaigns over HTTP: taken on from forms and data sets, followed, answered, cancelled and deleted."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import zipfile
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image
from support.campaigns import JOBS, STRONG_GREEN, WEAK_RED, arrays, colours, submit, submitted, work, zipped
from support.gateway import Gateway, assert_problem, gateway
from support.tiny import SIZE, make_tiny_bundle, solid_png

from holdfast.units import format_budget
from serving.jobs.store import add_event, finish
from serving.jobs.views import Happened
from serving.keys.store import KeyStore

pytestmark = pytest.mark.anyio

#: The same bytes whenever it is sent: a zip file says when it was packed.
COLOURS = colours()


async def finished(gateway: Gateway, *files: bytes | tuple[str, bytes], **options: Any) -> dict[str, Any]:
    """What a campaign comes to."""
    job = await submitted(gateway, *files, **options)
    work(gateway, job["id"])
    result: dict[str, Any] = (await gateway.client.get(job["links"]["result"])).json()
    assert result["complete"]
    return result


async def test_campaign_is_taken_on_carried_out_and_answered(tiny: Gateway) -> None:
    response = await submit(tiny, colours(2, 2), attack=["pgd", "fgsm"], labels="folder", name="a note")
    job = response.json()
    assert (response.status_code, response.headers["location"]) == (202, f"{JOBS}/{job['id']}")
    assert (job["state"], job["name"], job["images"], job["labels"]) == ("queued", "a note", 4, "folder")
    assert job["progress"] == {"done": 0, "total": 8, "share": 0.0, "eta_seconds": None}
    assert "No worker" in job["note"]
    early = await tiny.client.get(job["links"]["result"])
    assert_problem(early, 409, "job-not-finished")
    work(tiny, job["id"])

    job = (await tiny.client.get(job["links"]["self"])).json()
    assert (job["state"], job["note"], job["progress"]["share"]) == ("succeeded", "", 1.0)
    assert [(run["attack"], run["robust_accuracy"]) for run in job["runs"]] == [("pgd", 0.5), ("fgsm", 0.5)]
    kept = datetime.fromisoformat(job["expires"]) - datetime.fromisoformat(job["finished"])
    assert kept.days == 7

    result = (await tiny.client.get(job["links"]["result"])).json()
    for run in result["runs"]:
        assert run["clean_accuracy"]["value"] == 1.0
        assert run["robust_accuracy"]["value"] == 0.5
        low, high = run["robust_accuracy"]["interval"]
        assert 0.1 < low < 0.5 < high < 0.9
        assert run["record"]["totals"]["success_rate"] == 0.5
        outcomes = {each["image"]: each["outcome"] for each in run["record"]["results"]}
        assert outcomes == {
            "red/0.png": "fooled",
            "red/1.png": "fooled",
            "green/0.png": "held",
            "green/1.png": "held",
        }
    (worst,) = result["worst_cases"]
    assert (worst["attacks"], worst["fooled"], worst["held"]) == (["pgd", "fgsm"], 2, 2)
    assert worst["held_images"] == ["green/0.png", "green/1.png"]
    assert worst["robust_accuracy"]["value"] == 0.5


async def test_result_can_leave_out_what_came_of_every_image(tiny: Gateway) -> None:
    job = await submitted(tiny, solid_png("red"))
    work(tiny, job["id"])
    result = (await tiny.client.get(job["links"]["result"], params={"images": "false"})).json()
    assert "results" not in result["runs"][0]["record"]
    assert result["runs"][0]["record"]["totals"]["images"] == 1


async def test_labels_are_the_models_own_where_nothing_else_is_said(tiny: Gateway) -> None:
    result = await finished(tiny, solid_png(WEAK_RED), solid_png(STRONG_GREEN))
    (run,) = result["runs"]
    assert result["labels"] == "model"
    assert run["clean_accuracy"] is run["robust_accuracy"] is None
    assert [each["label"] for each in run["record"]["results"]] == ["red", "green"]
    assert run["record"]["totals"]["success_rate"] == 0.5


@pytest.mark.parametrize(
    ("labels", "files"),
    [
        ("file", [("red-1.png", solid_png(WEAK_RED)), ("green.png", solid_png(STRONG_GREEN))]),
        ('["red", 1]', [solid_png(WEAK_RED), solid_png(STRONG_GREEN)]),
        ("folder", [zipped({"red/a.png": solid_png(WEAK_RED)}), zipped({"green/a.png": solid_png("lime")})]),
    ],
    ids=["names of files", "a list", "names of folders"],
)
async def test_labels_come_from_where_the_request_says(tiny: Gateway, labels: str, files: list[Any]) -> None:
    result = await finished(tiny, *files, labels=labels)
    assert [each["class_index"] for each in result["runs"][0]["record"]["results"]] == [0, 1]
    assert result["runs"][0]["robust_accuracy"]["value"] == 0.5


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
async def test_arrays_are_attacked_as_they_are(tiny: Gateway, layout: str, kind: type) -> None:
    pixels = np.zeros((3, SIZE, SIZE, 3), dtype=np.uint8)
    pixels[0], pixels[1:] = WEAK_RED, STRONG_GREEN
    images = pixels if kind is np.uint8 else (pixels / np.float32(255)).astype(np.float32)
    if layout == "nchw":
        images = images.transpose(0, 3, 1, 2)
    result = await finished(tiny, arrays(images=np.ascontiguousarray(images), labels=np.array([0, 1, 2])))
    assert result["labels"] == "array"
    outcomes = [each["outcome"] for each in result["runs"][0]["record"]["results"]]
    assert outcomes == ["fooled", "held", "wrong before"]
    before = result["runs"][0]["record"]["results"][0]["before"]["probability"]
    logits = 10 * np.array(WEAK_RED) / 255
    assert before == pytest.approx((np.exp(logits) / np.exp(logits).sum())[0], abs=1e-5)


async def test_parameters_are_for_all_attacks_or_for_one(tiny: Gateway) -> None:
    fields = {"attack": ["pgd", "fgsm"], "pgd.epsilon": "8/255", "epsilon": "2/255"}
    job = await submitted(tiny, solid_png("red"), **fields)
    work(tiny, job["id"])
    result = (await tiny.client.get(job["links"]["result"])).json()
    budgets = [run["record"]["budget"]["epsilon"] for run in result["runs"]]
    assert budgets == [pytest.approx(8 / 255), pytest.approx(2 / 255)]
    assert [run["record"]["parameters"].get("steps") for run in result["runs"]] == [5, None]


async def test_budget_that_nobody_names_is_the_models_own(tiny: Gateway) -> None:
    response = await tiny.client.post(
        JOBS,
        data={"campaign": json.dumps({"models": ["tiny"], "attacks": ["fgsm"]})},
        files=[("f", ("a.png", solid_png("red")))],
    )
    work(tiny, response.json()["id"])
    result = (await tiny.client.get(f"{response.json()['links']['result']}")).json()
    assert result["runs"][0]["record"]["budget"] == {"norm": "linf", "epsilon": pytest.approx(8 / 255)}


async def test_same_attack_twice_needs_names(tiny: Gateway) -> None:
    attacks = [{"attack": "pgd", "name": f"pgd-{n}", "parameters": {"steps": n}} for n in (2, 9)]
    campaign = {"models": ["tiny"], "attacks": attacks}
    files = [("f", ("a.png", solid_png("red")))]
    response = await tiny.client.post(JOBS, data={"campaign": json.dumps(campaign)}, files=files)
    assert [run["attack"] for run in response.json()["runs"]] == ["pgd-2", "pgd-9"]
    del attacks[1]["name"], attacks[0]["name"]
    response = await tiny.client.post(JOBS, data={"campaign": json.dumps(campaign)}, files=files)
    assert "Two attacks are called 'pgd'" in assert_problem(response, 422, "unusable-campaign")["detail"]


async def test_several_models_and_versions_are_attacked(tmp_path: Path) -> None:
    for name, version in (("tiny", "1"), ("tiny", "2"), ("other", "1")):
        make_tiny_bundle(tmp_path, name, version)
    async with gateway(tmp_path) as started:
        result = await finished(started, solid_png(WEAK_RED), model=["tiny/1", "tiny", "other"])
    assert [(run["model"], run["version"]) for run in result["runs"]] == [
        ("tiny", "1"),
        ("tiny", "2"),
        ("other", "1"),
    ]
    assert len({json.dumps(run["record"]["results"]) for run in result["runs"]}) == 1


async def test_zip_of_a_result_has_tables_figures_and_the_images(tiny: Gateway) -> None:
    job = await submitted(
        tiny,
        colours(1, 1),
        attack=["pgd", "ddn"],
        labels="folder",
        float_images="true",
        **{"epsilon": [], "pgd.epsilon": "64/255"},
    )
    work(tiny, job["id"])
    answers = [
        await tiny.client.get(job["links"]["result"], params={"format": "zip"}),
        await tiny.client.get(job["links"]["result"], headers={"Accept": "application/zip"}),
    ]
    for answer in answers:
        assert answer.headers["content-type"] == "application/zip"
        assert job["id"] in answer.headers["content-disposition"]
    packed = zipfile.ZipFile(io.BytesIO(answers[0].content))
    assert packed.testzip() is None
    result = (await tiny.client.get(job["links"]["result"])).json()
    assert json.loads(packed.read("result.json")) == result
    rows = list(csv.DictReader(io.StringIO(packed.read("runs.csv").decode())))
    assert [(row["attack"], row["robust_accuracy"]) for row in rows] == [("pgd", "0.5"), ("ddn", "")]
    images = list(csv.DictReader(io.StringIO(packed.read("images.csv").decode())))
    assert [(row["attack"], row["image"], row["outcome"]) for row in images][:2] == [
        ("pgd", "green/0.png", "held"),
        ("pgd", "red/0.png", "fooled"),
    ]
    table = packed.read("result.md").decode()
    assert f"| linf {format_budget(64 / 255)} | 2 | 100.0 % [34.2 %, 100.0 %] | 50.0 % [" in table
    for figure in ("figures/accuracy.svg", "figures/success.svg"):
        assert ET.fromstring(packed.read(figure)).tag.endswith("svg")
    stored = np.load(io.BytesIO(packed.read("float/tiny-1/none/pgd/000001-0.npy")))
    picture = np.asarray(Image.open(io.BytesIO(packed.read("adversarial/tiny-1/none/pgd/000001-0.png"))))
    assert stored.shape == (3, SIZE, SIZE)
    assert np.abs(stored - np.array((140, 100, 60))[:, None, None] / 255).max() <= 64 / 255 + 1e-6
    assert np.array_equal(np.rint(stored * 255).astype(np.uint8).transpose(1, 2, 0), picture)


async def test_events_are_told_in_order_and_replayed_from_the_last_one_seen(tiny: Gateway) -> None:
    job = await submitted(tiny, solid_png("red"))
    work(tiny, job["id"])
    response = await tiny.client.get(job["links"]["events"])
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["cache-control"] == "no-store"
    assert _events(response.text) == [
        ("1", "queued"),
        ("2", "running"),
        ("3", "progress"),
        ("4", "succeeded"),
    ]
    progress = response.text.split("event: progress")[1].split("data: ")[1].splitlines()[0]
    assert json.loads(progress)["run"]["images_done"] == 1
    for asked in ({"headers": {"Last-Event-ID": "2"}}, {"params": {"after": "2"}}):
        again = await tiny.client.get(job["links"]["events"], **asked)  # type: ignore[arg-type]
        assert _events(again.text) == [("3", "progress"), ("4", "succeeded")]
    response = await tiny.client.get(job["links"]["events"], headers={"Last-Event-ID": "4"})
    assert _events(response.text) == []
    response = await tiny.client.get(job["links"]["events"], headers={"Last-Event-ID": "latest"})
    assert_problem(response, 422, "invalid-request")


async def test_events_of_a_long_job_are_read_a_part_at_a_time_and_told_at_once(
    tiny: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await submitted(tiny, solid_png("red"))
    read: list[int] = []
    parts = tiny.services.jobs._open()
    ask = parts.reader.events

    def note(name: str, owner: str | None, after: int) -> Happened:
        happened = ask(name, owner, after)
        read.append(len(happened.events))
        return happened

    with parts.database.write() as connection:
        for _ in range(1200):
            add_event(connection, job["id"], "progress", {"state": "running"})
        finish(connection, parts.database, job["id"], "cancelled")
    monkeypatch.setattr(parts.reader, "events", note)
    monkeypatch.setattr("serving.gateway.jobs.events._POLL", 3600)  # it waits for nothing that is there
    response = await asyncio.wait_for(tiny.client.get(job["links"]["events"]), 30)
    told = _events(response.text)
    assert [number for number, _ in told] == [str(number) for number in range(1, 1203)]
    assert (told[0][1], told[-1][1]) == ("queued", "cancelled")
    assert max(read) == 500


def _events(text: str) -> list[tuple[str, str]]:
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in text.split("\r\n\r\n")]
    return [(block["id"], block["event"]) for block in blocks if "event" in block]


async def test_same_key_with_the_same_content_is_the_same_job(tiny: Gateway) -> None:
    key = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
    first = await submit(tiny, COLOURS, headers=key)
    again = await submit(tiny, COLOURS, headers={"Idempotency-Key": key["Idempotency-Key"].strip('"')})
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.headers["location"] == again.headers["location"]
    for other in (
        await submit(tiny, colours(3), headers=key),
        await submit(tiny, COLOURS, headers=key, steps="6"),
    ):
        assert first.json()["id"] in assert_problem(other, 422, "idempotency-key-reused")["detail"]
    assert len((await tiny.client.get(JOBS)).json()["jobs"]) == 1
    # The key is gone with the job.
    for _ in range(2):
        await tiny.client.delete(first.headers["location"])
    assert (await submit(tiny, colours(3), headers=key)).status_code == 202


async def test_requests_with_the_same_key_at_the_same_time_make_one_job(tiny: Gateway) -> None:
    key = {"Idempotency-Key": "once"}
    answers = await asyncio.gather(*(submit(tiny, COLOURS, headers=key) for _ in range(6)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.headers["location"] for answer in answers}) == 1
    assert len((await tiny.client.get(JOBS)).json()["jobs"]) == 1


async def test_jobs_are_listed_newest_first_in_pages(tiny: Gateway) -> None:
    assert (await tiny.client.get(JOBS)).json() == {"jobs": [], "next": None}
    made = [(await submitted(tiny, solid_png("red"), name=str(n)))["id"] for n in range(5)]
    page = (await tiny.client.get(JOBS, params={"limit": 2, "state": "queued"})).json()
    seen = [page]
    while page["next"]:
        page = (await tiny.client.get(page["next"])).json()
        seen.append(page)
    assert [len(each["jobs"]) for each in seen] == [2, 2, 1]
    assert [job["id"] for each in seen for job in each["jobs"]] == made[::-1]
    assert (await tiny.client.get(JOBS, params={"state": "failed"})).json()["jobs"] == []
    for bad in ({"limit": 0}, {"state": "lost"}):
        assert_problem(await tiny.client.get(JOBS, params=bad), 422, "invalid-request")  # type: ignore[arg-type]
    assert_problem(await tiny.client.get(JOBS, params={"before": "nothing"}), 404, "unknown-job")


async def test_job_is_cancelled_and_then_deleted_with_all_of_it(tiny: Gateway) -> None:
    job = await submitted(tiny, solid_png("red"))
    address = job["links"]["self"]
    assert (await tiny.client.delete(address)).json() == {"id": job["id"], "outcome": "cancelled"}
    assert (await tiny.client.get(address)).json()["state"] == "cancelled"
    events = (await tiny.client.get(job["links"]["events"])).text
    assert [kind for _, kind in _events(events)] == ["queued", "cancelled"]
    result = (await tiny.client.get(job["links"]["result"])).json()
    assert (result["complete"], result["runs"][0]["images_done"]) == (False, 0)
    assert (await tiny.client.delete(address)).json()["outcome"] == "deleted"
    for method in ("GET", "DELETE"):
        assert_problem(await tiny.client.request(method, address), 404, "unknown-job")


async def test_cancelling_leaves_a_finished_job_as_it_is_however_often_it_is_asked_for(tiny: Gateway) -> None:
    waiting, over = [await submitted(tiny, COLOURS) for _ in range(2)]
    work(tiny, over["id"])
    for _ in range(2):
        for job, state in ((waiting, "cancelled"), (over, "succeeded")):
            answer = (await tiny.client.post(f"{job['links']['self']}/cancel")).json()
            assert (answer["id"], answer["state"]) == (job["id"], state)
            assert answer == (await tiny.client.get(job["links"]["self"])).json()
    assert (await tiny.client.get(over["links"]["result"])).json()["complete"]
    assert_problem(await tiny.client.post(f"{JOBS}/{'0' * 20}/cancel"), 404, "unknown-job")


async def test_job_that_nobody_has_heard_of_is_unknown_and_makes_no_database(tiny: Gateway) -> None:
    for name in ("x", "x/events", "x/result", "%00", "0" * 20):
        assert_problem(await tiny.client.get(f"{JOBS}/{name}"), 404, "unknown-job")
    path = Path(tiny.services.settings.jobs_database.removeprefix("sqlite:///"))
    assert not path.parent.exists()


async def test_partial_result_is_answered_on_request(tiny: Gateway) -> None:
    job = await submitted(tiny, solid_png("red"))
    result = (await tiny.client.get(job["links"]["result"], params={"partial": "true"})).json()
    assert (result["state"], result["complete"], result["worst_cases"]) == ("queued", False, [])


async def test_states_of_jobs_are_in_the_metrics(tiny: Gateway) -> None:
    job = await submitted(tiny, solid_png("red"))
    assert 'state="queued"} 1.0' in (await tiny.client.get("/metrics")).text
    work(tiny, job["id"])
    text = (await tiny.client.get("/metrics")).text
    assert 'state="queued"} 0.0' in text
    assert 'state="succeeded"} 1.0' in text


@pytest.fixture
async def with_datasets(tiny_store: Path, tmp_path: Path, anyio_backend: str) -> AsyncIterator[Gateway]:
    pixels = np.zeros((6, SIZE, SIZE, 3), dtype=np.uint8)
    pixels[:, :, :, 1] = 255
    pixels[2] = WEAK_RED
    labels = np.array([1, 1, 0, 1, 1, 1])
    (tmp_path / "colours.npz").write_bytes(arrays(test_images=pixels, test_labels=labels))
    (tmp_path / "folders.zip").write_bytes(colours(3, 2))
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no")
    (tmp_path / "notes.txt").write_text("none")
    async with gateway(tiny_store, datasets=tmp_path) as started:
        yield started


async def test_data_sets_of_the_server_are_listed(with_datasets: Gateway) -> None:
    found = (await with_datasets.client.get("/v1/datasets")).json()["datasets"]
    assert [(each["name"], each["images"], each["labels"]) for each in found] == [
        ("colours", 6, "array"),
        ("folders", 5, "folder"),
    ]
    assert (found[0]["channels"], found[0]["height"], found[0]["width"]) == (3, SIZE, SIZE)


async def test_data_set_of_the_server_is_attacked_from_where_the_request_says(with_datasets: Gateway) -> None:
    campaign = {
        "models": ["tiny"],
        "attacks": ["pgd"],
        "parameters": {"epsilon": "64/255", "steps": 5},
        "dataset": {"name": "colours", "first": 1, "count": 3},
    }
    job = (await with_datasets.client.post(JOBS, json=campaign)).json()
    assert (job["images"], job["labels"]) == (3, "array")
    work(with_datasets, job["id"])
    result = (await with_datasets.client.get(job["links"]["result"])).json()
    outcomes = [(each["image"], each["outcome"]) for each in result["runs"][0]["record"]["results"]]
    assert outcomes == [("000001.png", "held"), ("000002.png", "fooled"), ("000003.png", "held")]
    form = await submitted(with_datasets, dataset="folders", first="2", count="2", labels="folder")
    assert form["images"] == 2


@pytest.mark.parametrize(
    ("dataset", "kind"),
    [
        ({"name": "nothing"}, "unknown-dataset"),
        ({"name": "../colours"}, "unknown-dataset"),
        ({"name": "broken"}, "bad-archive"),
        ({"name": "colours", "first": 6}, "unusable-campaign"),
        ({"name": "colours", "first": 3, "count": 4}, "unusable-campaign"),
    ],
)
async def test_data_set_that_cannot_be_used_is_refused(
    with_datasets: Gateway, dataset: dict[str, Any], kind: str
) -> None:
    campaign = {"models": ["tiny"], "attacks": ["fgsm"], "dataset": dataset}
    assert_problem(await with_datasets.client.post(JOBS, json=campaign), 422, kind)


async def test_job_is_its_keys_own(tiny_store: Path, tmp_path: Path) -> None:
    keys = KeyStore(tmp_path / "keys.json")
    tokens = (
        keys.create("mine", ("attack",)),
        keys.create("other", ("attack",)),
        keys.create("weak", ("classify",)),
    )
    mine, other, weak = ({"Authorization": f"Bearer {token.reveal()}"} for token, _ in tokens)
    async with gateway(tiny_store, keys_file=keys.path) as started:
        image = solid_png("red")
        assert_problem(await submit(started, image), 401, "unauthenticated")
        assert_problem(await submit(started, image, headers=weak), 403, "missing-scope")
        key = {"Idempotency-Key": "the-same"}
        ours = (await submit(started, image, headers=mine | key)).json()
        theirs = (await submit(started, image, headers=other | key)).json()
        assert ours["id"] != theirs["id"]
        listed = (await started.client.get(JOBS, headers=mine)).json()["jobs"]
        assert [job["id"] for job in listed] == [ours["id"]]
        for address in ours["links"].values():
            assert_problem(await started.client.get(address, headers=other), 404, "unknown-job")
        cancel = f"{ours['links']['self']}/cancel"
        assert_problem(await started.client.post(cancel, headers=other), 404, "unknown-job")
        assert_problem(await started.client.post(cancel, headers=weak), 403, "missing-scope")
        assert_problem(await started.client.delete(ours["links"]["self"], headers=other), 404, "unknown-job")
        assert (await started.client.get(ours["links"]["self"], headers=mine)).json()["state"] == "queued"
        assert (await started.client.get(ours["links"]["self"], headers=mine)).status_code == 200
