"""What a campaign is refused with: every limit from both sides, every hostile archive, and no room."""

from __future__ import annotations

import gzip
import json
import os
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import sqlalchemy as sa
from sqlalchemy import event
from support.campaigns import JOBS, arrays, colours, submit, submitted, work, zipped
from support.gateway import Gateway, assert_problem, gateway
from support.tiny import SIZE, solid_png

from serving.jobs.requests import CampaignRequest

pytestmark = pytest.mark.anyio

RED = solid_png("red")


async def refused(gateway: Gateway, status: int, kind: str, *files: Any, **options: Any) -> dict[str, Any]:
    """A campaign that is refused, and of which nothing is left."""
    document = assert_problem(await submit(gateway, *files, **options), status, kind)
    assert (await gateway.client.get(JOBS)).json()["jobs"] == []
    return document


@pytest.mark.parametrize(
    ("fields", "status", "kind", "words"),
    [
        ({"model": "nothing"}, 404, "unknown-model", "nothing"),
        ({"model": "tiny/7"}, 404, "unknown-version", "7"),
        ({"defence": "imt"}, 422, "unusable-campaign", "does not offer the defence 'imt'"),
        ({"attack": "nothing"}, 422, "unusable-campaign", "nothing"),
        ({"attack": []}, 422, "invalid-request", "attacks"),
        ({"model": []}, 422, "invalid-request", "models"),
        ({"steps": "many"}, 422, "invalid-request", "body attacks[0].parameters.steps"),
        ({"steps": "0"}, 422, "invalid-request", "steps"),
        ({"epsilon": "8/0"}, 422, "invalid-request", "epsilon"),
        ({"colour": "red"}, 422, "unusable-campaign", "None of the attacks has a parameter 'colour'"),
        ({"square.steps": "4"}, 422, "invalid-request", "square is not among the attacks"),
        ({"pgd.colour": "4"}, 422, "invalid-request", "There is nothing of this name"),
        ({"target": "9"}, 422, "unusable-campaign", "no class 9"),
        ({"loss": "manifold"}, 422, "unusable-campaign", "has no loss 'manifold'"),
        ({"labels": "folder"}, 422, "unusable-campaign", "is in no folder"),
        ({"labels": "array"}, 422, "unusable-campaign", "came without one"),
        ({"labels": '["red", "red"]'}, 422, "unusable-campaign", "2 for 1 images"),
        ({"labels": '["mauve"]'}, 422, "unusable-campaign", "'mauve'"),
        ({"labels": "guess"}, 422, "invalid-request", "labels"),
        ({"dataset": "colours"}, 422, "invalid-request", "not both"),
        ({"campaign": "{}"}, 422, "invalid-request", "stands alone"),
        ({"name": "a\x00b"}, 422, "invalid-request", "name"),
    ],
)
async def test_campaign_that_cannot_be_carried_out_is_refused_before_it_is_taken_on(
    tiny: Gateway, fields: dict[str, Any], status: int, kind: str, words: str
) -> None:
    document = await refused(tiny, status, kind, RED, **fields)
    assert words in json.dumps(document)


async def test_bad_images_are_named_and_none_is_attacked(tiny: Gateway) -> None:
    files = {"a.png": RED, "b.png": RED[:40], "c.png": b"no", "d.png": b""}
    document = await refused(tiny, 422, "truncated-image", zipped(files))
    assert [(each["index"], each["type"]) for each in document["images"]] == [
        (1, "/problems#truncated-image"),
        (2, "/problems#not-an-image"),
        (3, "/problems#empty-image"),
    ]
    assert "b.png (image 2 of 4)" in document["detail"]


async def test_campaign_without_images_is_refused(tiny: Gateway) -> None:
    await refused(tiny, 422, "no-images")
    await refused(tiny, 422, "no-images", zipped({"__MACOSX/a.png": RED, ".hidden/b.png": RED, "c/": b""}))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../../etc/passwd.png", "leads out of it"),
        ("/etc/passwd.png", "no relative path"),
        ("C:/boot.png", "no relative path"),
        ("a\\..\\b.png", "no relative path"),
        ("a\nb.png", "cannot be shown"),
        ("inner.zip", "no PNG, JPEG or WebP"),
        ("readme.txt", "no PNG, JPEG or WebP"),
    ],
)
async def test_entry_that_no_archive_of_images_has_is_refused(tiny: Gateway, name: str, words: str) -> None:
    assert words in (await refused(tiny, 422, "bad-archive", zipped({"a.png": RED, name: RED})))["detail"]


async def test_archive_that_unpacks_to_too_much_is_refused_before_it_is_unpacked(tiny_store: Path) -> None:
    bomb = zipped({f"{n}.png": bytes(1_000_000) for n in range(20)})
    assert len(bomb) < 100_000
    async with gateway(tiny_store, jobs_max_bytes=10_000_000) as started:
        document = await refused(started, 422, "bad-archive", bomb)
        assert "unpacks to more" in document["detail"]
        lying = bytearray(zipped({"a.png": bytes(30_000_000)}))
        for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
            at = lying.index(signature) + offset
            lying[at : at + 4] = struct.pack("<I", 100)
        await refused(started, 422, "bad-archive", bytes(lying))


async def test_archive_with_a_directory_too_large_to_look_at_is_refused(tiny_store: Path) -> None:
    async with gateway(tiny_store, jobs_max_images=10) as started:
        many = zipped({f"{n}/": b"" for n in range(1200)})
        assert "entries" in (await refused(started, 422, "bad-archive", many))["detail"]
        lying = bytearray(many)
        at = lying.rindex(b"PK\x05\x06")
        lying[at + 8 : at + 12] = struct.pack("<HH", 1, 1)
        await refused(started, 422, "bad-archive", bytes(lying), epsilon="1/255")
        lying[at:at] = b"PK\x06\x07" + bytes(16)
        assert "ZIP64" in (await refused(started, 422, "bad-archive", bytes(lying)))["detail"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (zipped({"a.png": RED})[:-30], "its end is missing"),
        (zipped({"a.png": RED}, compression=zipfile.ZIP_BZIP2), "not accepted"),
        (zipped({"a.png": RED}).replace(b"\x00\x00\x08\x00", b"\x01\x00\x08\x00"), "encrypted"),
        (zipped({"a.png": RED}, compression=zipfile.ZIP_STORED).replace(RED[40:50], bytes(10)), "damaged"),
        (b"PK\x03\x04" + bytes(200), "its end is missing"),
    ],
    ids=["cut off", "bzip2", "encrypted", "changed", "nothing behind"],
)
async def test_damaged_archive_is_refused(tiny: Gateway, content: bytes, words: str) -> None:
    assert words in (await refused(tiny, 422, "bad-archive", content))["detail"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (arrays(pictures=np.zeros((2, SIZE, SIZE, 3), np.uint8)), "no array of images"),
        (arrays(images=np.zeros((2, SIZE, SIZE, 4), np.uint8)), "have not 1 or 3 channels"),
        (arrays(images=np.zeros((2, 3, SIZE, 3), np.uint8)), "may be"),
        (arrays(images=np.zeros((2, 5), np.uint8)), "shape"),
        (arrays(images=np.zeros((2, SIZE, SIZE, 3), np.int32)), "uint8"),
        (arrays(images=np.full((2, SIZE, SIZE, 3), 2.0)), "outside [0, 1]"),
        (arrays(images=np.full((2, SIZE, SIZE, 3), np.nan)), "outside [0, 1]"),
        (arrays(images=np.zeros((2, SIZE, SIZE, 3), np.uint8), labels=np.zeros(3, int)), "number for each"),
        (arrays(images=np.asfortranarray(np.zeros((2, SIZE, SIZE, 3), np.uint8))), "Fortran"),
        (arrays(images=np.array([{"a": 1}], dtype=object)), "object"),
    ],
    ids=["name", "channels", "ambiguous", "flat", "int32", "large", "nan", "labels", "fortran", "objects"],
)
async def test_arrays_that_are_no_images_are_refused(tiny: Gateway, content: bytes, words: str) -> None:
    assert words in (await refused(tiny, 422, "bad-archive", content))["detail"]


async def test_float_images_of_another_size_than_the_models_are_refused(tiny: Gateway) -> None:
    content = arrays(images=np.zeros((2, 9, 9, 3), np.float32))
    assert "3x8x8" in (await refused(tiny, 422, "unusable-campaign", content))["detail"]
    assert (await submit(tiny, arrays(images=np.zeros((2, 9, 9, 3), np.uint8)))).status_code == 202


async def test_array_file_that_claims_too_much_is_refused_by_its_header(
    tiny_store: Path,
) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (9000, 1000, 1000, 3), }".ljust(118) + b"\n"
    array = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    async with gateway(tiny_store) as started:
        document = await refused(started, 413, "too-many-bytes", zipped({"images.npy": array}))
    assert "bytes" in document["detail"]


async def test_limits_hold_from_both_sides(tiny_store: Path) -> None:
    async with gateway(tiny_store, jobs_max_images=3, jobs_max_runs=2, jobs_queue=2) as started:
        document = await refused(started, 413, "too-many-images", colours(2, 2))
        assert document["limit"] == 3
        await refused(started, 413, "too-many-images", *[RED] * 4)
        await refused(started, 413, "too-many-images", arrays(images=np.zeros((4, SIZE, SIZE, 3), np.uint8)))
        document = await refused(started, 422, "unusable-campaign", RED, attack=["pgd", "fgsm", "ddn"])
        assert "more than the 2 runs" in document["detail"]
        first = await submitted(started, colours(2, 1), attack=["pgd", "fgsm"])
        await submitted(started, RED)
        full = await submit(started, RED)
        assert_problem(full, 503, "overloaded")
        assert int(full.headers["retry-after"]) >= 1
        work(started, first["id"])
        await submitted(started, RED)


async def test_body_larger_than_the_limit_is_refused(tiny_store: Path) -> None:
    async with gateway(tiny_store, jobs_max_bytes=100_000) as started:
        await refused(started, 413, "too-many-bytes", *[RED] * 10, bytes(2_000_000))


async def test_json_is_bounded_by_what_a_job_may_have_to_say(
    tiny_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def campaign(commas: int, filler: int = 0) -> bytes:
        labels = b"1," * (commas - 2) + b" " * filler + b"1"
        return b'{"models":["tiny"],"attacks":["pgd"],"labels":[' + labels + b"]}"

    async with gateway(tiny_store, jobs_max_images=100) as started:

        async def ask(content: bytes) -> httpx.Response:
            headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
            return await started.client.post(JOBS, content=gzip.compress(content), headers=headers)

        most = (1 << 20) + 128 * 100
        fits = campaign(1800)
        assert_problem(await ask(campaign(1800, most - len(fits))), 422, "no-images")

        def parse(*_: object, **__: object) -> None:
            raise AssertionError("it was parsed")

        monkeypatch.setattr(CampaignRequest, "model_validate_json", parse)
        document = assert_problem(await ask(campaign(1800, most + 1 - len(fits))), 413, "too-many-bytes")
        assert document["limit"] == most
        assert assert_problem(await ask(campaign(1801)), 413, "too-many-images")["limit"] == 100
        whole = {"model": [], "attack": [], "epsilon": [], "steps": [], "campaign": campaign(1801).decode()}
        await refused(started, 413, "too-many-images", RED, **whole)
        assert_problem(await submit(started, RED, labels="[" + "1," * 1801 + "1]"), 413, "too-many-images")


async def test_classes_of_as_many_images_as_a_job_may_have_are_taken(tiny: Gateway) -> None:
    name = "great white shark, white shark, man-eater, man-eating shark, Carcharodon carcharias"
    campaign = {"models": ["tiny"], "attacks": ["pgd"], "labels": [name] * 10_000}
    assert_problem(await tiny.client.post(JOBS, json=campaign), 422, "no-images")


async def test_of_many_labels_that_are_none_the_first_is_told(tiny: Gateway) -> None:
    campaign = {"models": ["tiny"], "attacks": ["pgd"], "labels": [[]] * 10_000}
    answer = await tiny.client.post(JOBS, json=campaign)
    assert len(assert_problem(answer, 422, "invalid-request")["errors"]) < 5


async def test_job_over_the_quota_is_refused_until_another_is_deleted(tiny_store: Path) -> None:
    async with gateway(tiny_store, jobs_quota=120_000) as started:
        first = await submitted(started, colours(60, 60))
        document = assert_problem(await submit(started, colours(60, 60)), 507, "jobs-quota")
        assert "120000" in document["detail"]
        for _ in range(2):
            await started.client.delete(first["links"]["self"])
        await submitted(started, colours(60, 60))


async def test_finished_job_counts_for_what_it_holds_and_not_for_what_it_might(tiny_store: Path) -> None:
    async with gateway(tiny_store, jobs_quota=120_000) as started:
        first = await submitted(started, colours(60, 60), attack="fgsm", steps=[])
        assert_problem(await submit(started, colours(30, 30)), 507, "jobs-quota")
        work(started, first["id"])
        await submitted(started, colours(30, 30))


async def test_full_database_is_a_problem_at_once(tiny: Gateway) -> None:
    await submitted(tiny, RED)
    opened = tiny.services.jobs._open()
    with opened.database.engine.connect() as connection:
        pages = connection.execute(sa.text("PRAGMA page_count")).scalar_one()

    def fill(connection: Any, _record: Any) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")

    event.listen(opened.database.engine, "connect", fill)
    opened.database.engine.dispose()
    noise = np.random.default_rng(0).integers(0, 256, (200, SIZE, SIZE, 3), dtype=np.uint8)
    assert_problem(await submit(tiny, arrays(images=noise)), 507, "storage-full")
    assert len((await tiny.client.get(JOBS)).json()["jobs"]) == 1


async def test_disk_that_is_nearly_full_is_a_problem_at_once(
    tiny: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    await submitted(tiny, RED)
    monkeypatch.setattr("serving.jobs.database.Database.free", lambda _self: 1_000_000)
    assert_problem(await submit(tiny, RED), 507, "storage-full")


async def test_job_folder_that_cannot_be_written_is_a_problem_at_once_and_classifying_goes_on(
    tiny_store: Path,
) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "jobs"
        folder.mkdir()
        folder.chmod(0o555)
        Path(place).chmod(0o755)
        async with gateway(tiny_store, jobs_database=f"sqlite:///{folder}/jobs.sqlite") as started:
            root = os.geteuid() == 0
            if root:  # whom no permission stops
                os.seteuid(65534)
            try:
                response = await submit(started, RED)
            finally:
                if root:
                    os.seteuid(0)
            document = assert_problem(response, 503, "storage-unavailable")
            assert response.headers["retry-after"]
            assert str(folder) not in response.text
            assert "HOLDFAST_JOBS_DATABASE" in document["detail"]
            assert (await started.classify(RED)).status_code == 200
            folder.chmod(0o755)
            await submitted(started, RED)


async def test_database_that_is_not_there_is_a_problem_at_once(tiny_store: Path) -> None:
    url = "postgresql://holdfast:secret@127.0.0.1:1/jobs"
    async with gateway(tiny_store, jobs_database=url) as started:
        response = await submit(started, RED)
        assert_problem(response, 503, "storage-unavailable")
        assert "secret" not in response.text
        assert_problem(await started.client.get(JOBS), 503, "storage-unavailable")


@pytest.mark.parametrize("key", ["", "a b", "ä".encode().decode("latin-1"), "x" * 256])
async def test_key_that_is_none_is_refused(tiny: Gateway, key: str) -> None:
    assert_problem(
        await submit(tiny, RED, headers={"Idempotency-Key": key.encode("latin-1")}), 422, "invalid-request"
    )


@pytest.mark.parametrize(
    ("content", "media_type", "status", "kind"),
    [
        (b"{", "application/json", 400, "malformed-body"),
        (b"[]", "application/json", 422, "invalid-request"),
        (b'{"models": ["tiny"], "attacks": ["pgd"]}', "application/json", 422, "no-images"),
        (b'{"models": ["tiny"], "attacks": [7], "dataset": "x"}', "application/json", 422, "invalid-request"),
        (RED, "image/png", 415, "unsupported-media-type"),
        (b"--b\r\nno", "multipart/form-data; boundary=b", 400, "malformed-body"),
        (b"", "multipart/form-data", 400, "malformed-body"),
    ],
)
async def test_body_that_describes_no_campaign_is_refused(
    tiny: Gateway, content: bytes, media_type: str, status: int, kind: str
) -> None:
    response = await tiny.client.post(JOBS, content=content, headers={"Content-Type": media_type})
    assert_problem(response, status, kind)
