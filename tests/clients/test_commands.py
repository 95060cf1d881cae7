"""The commands that ask a gateway say what it says."""

from __future__ import annotations

import json
import re
import shutil
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.campaigns import WEAK_RED
from support.cli import invoke, spawn_without
from support.gateway_process import free_port, running_gateway
from support.tiny import solid_png
from typer.testing import CliRunner, Result

from holdfast.commands.jobs import app
from holdfast.commands.remote.attack import _show
from holdfast.errors import HoldfastError, UsageError
from holdfast_client import AttackProgress, Holdfast
from serving.jobs.database import Database
from serving.jobs.store import finish
from serving.keys.store import KeyStore
from serving.rates import Rate

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Where the gateway keeps its jobs."""
    return f"sqlite:///{tmp_path_factory.mktemp('jobs')}/jobs.sqlite"


@pytest.fixture(scope="module")
def url(tiny_store: Path, database: str) -> Iterator[str]:
    with running_gateway(tiny_store, HOLDFAST_JOBS_DATABASE=database) as started:
        yield started


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for name, colour in (("red", WEAK_RED), ("green", (0, 255, 0))):
        (folder / name).mkdir(parents=True)
        (folder / name / "0.png").write_bytes(solid_png(colour))
    return folder


def jobs(*arguments: str | Path) -> Result:
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    if isinstance(result.exception, HoldfastError):
        raise result.exception
    return result


def test_images_are_classified_there(capsys: pytest.CaptureFixture[str], url: str, images: Path) -> None:
    outcome = invoke(capsys, "classify", images, "--server", url, "--json")
    answers = {each["image"]: each["label"] for each in json.loads(outcome.out)["images"]}
    assert answers == {str(images / "green/0.png"): "green", str(images / "red/0.png"): "red"}
    outcome = invoke(capsys, "classify", images / "red", "--server", url, "--top-k", "1")
    assert (outcome.code, outcome.err) == (0, "")
    assert "red" in outcome.out
    assert "green" not in outcome.out


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str, Path]]:
    """A gateway that asks for keys, one of scope classify, and its store with a model that offers IMT."""
    place = tmp_path_factory.mktemp("keyed")
    store = place / "store"
    shutil.copytree(ROOT / "model_store" / "atld-cifar10", store / "atld-cifar10")
    token, _ = KeyStore(place / "keys.json").create("shop", ("classify",))
    settings = {"HOLDFAST_KEYS_FILE": str(place / "keys.json"), "HOLDFAST_MAX_BATCH": "2"}
    with running_gateway(store, **settings) as started:
        yield started, token.reveal(), store


SHIP = ROOT / "examples" / "images" / "ship.png"


@pytest.mark.parametrize("defence", ["default", "none", "imt", "imt+"])
def test_gateway_and_this_machine_say_the_same_behind_a_defence(
    defence: str,
    capsys: pytest.CaptureFixture[str],
    keyed: tuple[str, str, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, key, store = keyed
    monkeypatch.setenv("HOLDFAST_API_KEY", key)
    asked = ("classify", SHIP, "--model", "atld-cifar10", "--defence", defence, "--json")
    (there,) = json.loads(invoke(capsys, *asked, "--server", url).out)["images"]
    answer = json.loads(invoke(capsys, *asked, "--store", store).out)
    (here,) = answer["images"]
    assert answer["defence"] == there["defence"] == ("none" if defence == "default" else defence)
    assert here["label"] == there["label"] == "ship"
    assert here["probability"] == pytest.approx(there["probability"], abs=1e-4)
    assert here["manifold"] == {
        "score": pytest.approx(there["manifold"]["score"], abs=1e-4),
        "evidence": "discriminator",
        "verdict": there["manifold"]["verdict"],
        **({"moved": pytest.approx(there["manifold"]["moved"], abs=1e-4)} if "imt" in defence else {}),
    }


def test_defence_that_is_not_offered_is_an_error_here_too(
    capsys: pytest.CaptureFixture[str], images: Path, tiny_store: Path
) -> None:
    outcome = invoke(capsys, "classify", images, "--store", tiny_store, "--defence", "imt")
    assert outcome.code == 2
    assert "does not offer 'imt'" in outcome.err
    assert "Hint: It offers: none." in outcome.err


def test_key_that_is_missing_wrong_or_for_something_else_is_said(
    capsys: pytest.CaptureFixture[str], keyed: tuple[str, str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, key, _ = keyed
    for wrong in ("", "wrong"):
        monkeypatch.setenv("HOLDFAST_API_KEY", wrong)
        outcome = invoke(capsys, "models", "--server", url)
        assert outcome.code == 1
        assert "This needs a valid key" in outcome.err
        assert "Hint: The key that is sent is the one in HOLDFAST_API_KEY." in outcome.err
    monkeypatch.setenv("HOLDFAST_API_KEY", key)
    for command in (["attack", "atld-cifar10", SHIP.parent], ["jobs", "list"]):
        outcome = invoke(capsys, *command, "--server", url)
        assert (outcome.code, outcome.out) == (1, "")
        assert outcome.err.count("with the scope attack; this one has classify") == 1


def test_who_has_to_wait_is_told(
    capsys: pytest.CaptureFixture[str], keyed: tuple[str, str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, _, store = keyed
    slow, _ = KeyStore(store.parent / "keys.json").create("slow", ("classify",), rate=Rate.parse("1/second"))
    monkeypatch.setenv("HOLDFAST_API_KEY", slow.reveal())
    time.sleep(1.1)  # the gateway looks at its file of keys once a second
    outcome = invoke(
        capsys, "classify", SHIP, SHIP.with_name("cat.png"), "--model", "atld-cifar10", "--server", url
    )
    assert outcome.code == 0
    assert "POST /v1/models/atld-cifar10/classify: 429; it is sent again in 1." in outcome.err


def test_what_is_wrong_with_all_images_is_said_once(
    capsys: pytest.CaptureFixture[str], url: str, images: Path
) -> None:
    classified = invoke(capsys, "classify", images, "--server", url, "--defence", "imt")
    assert (classified.code, classified.out) == (1, "")
    assert classified.err.count("does not offer the defence 'imt'") == 1
    asked = ("attack", "tiny", images, "--server", url)
    for wrong, words in (
        (("--defence", "imt"), "does not offer the defence 'imt'"),
        (("--attack", "magic"), "There is no attack 'magic'"),
        (("--set", "stepz=3"), "stepz: There is nothing of this name"),
        (("--label", "purple"), "purple"),
    ):
        attacked = invoke(capsys, *asked, *wrong)
        assert (attacked.code, attacked.out) == (1, "")
        assert attacked.err.count(words) == 1


def test_attack_that_cannot_be_leaves_what_others_found(
    capsys: pytest.CaptureFixture[str], url: str, images: Path
) -> None:
    outcome = invoke(capsys, "attack", "tiny", images, "--server", url, "-a", "fgsm", "-a", "magic", "--json")
    assert outcome.code == 1
    answer = json.loads(outcome.out)
    assert [each["attack"]["name"] for each in answer["results"]] == ["fgsm", "fgsm"]
    assert [each["attack"] for each in answer["failures"]] == ["magic"]


def test_folder_of_results_is_not_written_over(
    capsys: pytest.CaptureFixture[str], url: str, images: Path, tmp_path: Path
) -> None:
    (images / "red" / "0.webp").write_bytes((images / "red" / "0.png").read_bytes())
    asked = ("attack", "tiny", images / "red", "--server", url, "-a", "fgsm", "--out", tmp_path / "out")
    assert invoke(capsys, *asked).code == 0
    written = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.png"))
    assert [each for each in written if "/adversarial/" in each] == [
        "fgsm/adversarial/0-2.png",
        "fgsm/adversarial/0.png",
    ]
    assert len([each for each in written if "/perturbation/" in each]) == 2
    again = invoke(capsys, *asked)
    assert again.code == 2
    assert "is not empty" in again.err
    assert invoke(capsys, *asked, "--force").code == 0


def test_image_that_is_none_does_not_stop_the_others(
    capsys: pytest.CaptureFixture[str], url: str, images: Path
) -> None:
    (images / "broken.png").write_bytes(b"nothing")
    outcome = invoke(capsys, "classify", images, "--server", url)
    assert outcome.code == 1
    assert "not-an-image" in outcome.err
    assert "1 of 3 images could not be classified" in outcome.err
    outcome = invoke(capsys, "attack", "tiny", images, "--server", url, "--attack", "fgsm", "--json")
    assert outcome.code == 1
    answer = json.loads(outcome.out)
    assert (len(answer["results"]), len(answer["failures"])) == (2, 1)


def test_models_are_listed_and_shown_from_there(capsys: pytest.CaptureFixture[str], url: str) -> None:
    assert "red" not in invoke(capsys, "models", "--server", url).out
    assert json.loads(invoke(capsys, "models", "--server", url, "--json").out)["default"] == "tiny"
    assert invoke(capsys, "models", "tiny/1", "--server", url).out.startswith("# tiny")
    outcome = invoke(capsys, "models", "large", "--server", url)
    assert outcome.code == 1
    assert "There is no such model" in outcome.err


def test_bar_of_an_attack_says_how_it_is() -> None:
    seen: list[tuple[float, str | None]] = []

    class Bar:
        def advance(self, steps: float = 1, *, note: str | None = None) -> None:
            raise AssertionError("it says how much is done in all")

        def update(self, done: float, *, note: str | None = None) -> None:
            seen.append((done, note))

    for now in (
        AttackProgress(waiting=2),
        AttackProgress(waiting=1),
        AttackProgress(),
        AttackProgress(done=500, total=2000),
    ):
        _show(Bar(), 3, "pgd, a.png", now)
    assert seen == [
        (3, "pgd, a.png: waits for 2 others"),
        (3, "pgd, a.png: waits for one other"),
        (3, "pgd, a.png: begins"),
        (3.25, "pgd, a.png: 500 of 2,000 steps"),
    ]


def test_images_are_attacked_there(
    capsys: pytest.CaptureFixture[str], url: str, images: Path, tmp_path: Path
) -> None:
    outcome = invoke(
        capsys,
        *("attack", "tiny", images, "--server", url, "-a", "pgd", "-a", "fgsm", "--epsilon", "64/255"),
        *("--set", "pgd.steps=5", "--json", "--out", tmp_path / "out"),
    )
    assert outcome.code == 0, outcome.err
    results = json.loads(outcome.out)["results"]
    assert [each["attack"]["name"] for each in results] == ["pgd", "pgd", "fgsm", "fgsm"]
    assert results[0]["attack"]["parameters"]["steps"] == 5
    assert [each["outcome"] for each in results] == ["held", "fooled", "held", "fooled"]
    assert len(list((tmp_path / "out").rglob("adversarial/*/*.png"))) == 4
    assert "held" in invoke(capsys, "attack", "tiny", images, "--server", url).out


@pytest.mark.parametrize(
    "option",
    [
        ("--transfer-from", "other"),
        ("--eot", "2"),
        ("--labels-from", "folder"),
        ("--float",),
        ("--cost",),
        ("--store", "model_store"),
        ("--batch-size", "32"),
        ("--threads", "0"),
    ],
    ids=lambda option: option[0],
)
def test_what_is_for_this_machine_is_refused_with_a_server_even_where_it_is_the_default(
    capsys: pytest.CaptureFixture[str], images: Path, option: tuple[str, ...]
) -> None:
    outcome = invoke(capsys, "attack", "tiny", images, *option, "--server", "http://127.0.0.1:1")
    assert (outcome.code, outcome.out) == (2, "")
    assert f"{option[0]} is for attacks on this machine" in outcome.err


@pytest.mark.parametrize("command", ["classify", "models"])
def test_store_is_refused_with_a_server_and_that_of_the_environment_is_not(
    capsys: pytest.CaptureFixture[str], url: str, images: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [command, *([str(images)] if command == "classify" else []), "--server", url]
    outcome = invoke(capsys, *asked, "--store", "model_store")
    assert (outcome.code, outcome.out) == (2, "")
    assert "--store is about files here" in outcome.err
    monkeypatch.setenv("HOLDFAST_MODEL_STORE", "model_store")
    assert invoke(capsys, *asked).code == 0


def test_job_is_begun_followed_read_and_deleted(url: str, images: Path, tmp_path: Path) -> None:
    asked = ("--model", "tiny", "-a", "fgsm", "--set", "epsilon=64/255", "--labels", "folder")
    done = jobs("create", images, *asked, "--name", "colours", "--server", url, "--json")
    job = json.loads(done.stdout)
    assert job["images"] == 2
    followed = jobs("follow", job["id"], "--server", url)
    assert "50.0 %" in followed.stdout
    assert json.loads(jobs("show", job["id"], "--server", url, "--json").stdout)["state"] == "succeeded"
    assert "colours" in jobs("list", "--server", url).stdout
    assert "succeeded" in jobs("cancel", job["id"], "--server", url).stdout
    jobs("result", job["id"], "--out", tmp_path / "result.zip", "--server", url)
    assert (tmp_path / "result.zip").read_bytes().startswith(b"PK")
    assert len(json.loads(jobs("result", job["id"], "--server", url, "--json").stdout)["runs"]) == 1
    jobs("delete", job["id"], "--server", url)
    with pytest.raises(HoldfastError, match="There is no such job"):
        jobs("show", job["id"], "--server", url)
    assert "fgsm" in jobs("create", images, *asked, "--wait", "--server", url).stdout


#: What takes longer than any test.
LONG = ("--model", "tiny", "--set", "steps=10000", "--set", "restarts=100", "--set", "epsilon=1/255")


def test_job_that_failed_is_followed_to_its_reason_and_an_exit_code(
    capsys: pytest.CaptureFixture[str], url: str, database: str, images: Path
) -> None:
    job = json.loads(jobs("create", images, *LONG, "--server", url, "--json").stdout)["id"]
    kept = Database(database)
    with kept.write() as connection:
        assert finish(connection, kept, job, "failed", "The worker's model is another one.")
    kept.close()
    outcome = invoke(capsys, "jobs", "follow", job, "--server", url)
    assert outcome.code == 1
    assert "Not complete: it is failed." in outcome.out
    assert f"Job {job}: failed. The worker's model is another one.\n" in outcome.err
    outcome = invoke(capsys, "jobs", "follow", job, "--server", url, "--json")
    assert (outcome.code, json.loads(outcome.out)["complete"]) == (1, False)


def test_job_that_is_cancelled_while_it_is_waited_for_is_no_success(
    capsys: pytest.CaptureFixture[str], url: str, images: Path
) -> None:
    def cancel() -> None:
        with Holdfast(url) as client:
            while not (found := [job.id for job in client.jobs.list() if job.name == "awaited"]):
                time.sleep(0.05)
            client.jobs.cancel(found[0])

    with ThreadPoolExecutor(1) as executor:
        cancelled = executor.submit(cancel)
        outcome = invoke(
            capsys, "jobs", "create", images, *LONG, "--name", "awaited", "--wait", "--server", url
        )
        cancelled.result()
    assert outcome.code == 1
    assert "Not complete: it is cancelled." in outcome.out
    assert re.search(r"Job \w{20}: cancelled\.\n", outcome.err)


def test_job_needs_a_model_and_images(url: str) -> None:
    with pytest.raises(UsageError, match="--model NAME"):
        jobs("create", "--server", url)
    with pytest.raises(UsageError, match="images or a data set"):
        jobs("create", "--model", "tiny", "--server", url)


@pytest.mark.parametrize("option", [("--first", "5"), ("--first", "0"), ("--count", "2")])
def test_part_of_a_data_set_is_none_of_images(url: str, images: Path, option: tuple[str, str]) -> None:
    with pytest.raises(UsageError, match=f"{option[0]} is of a data set") as caught:
        jobs("create", images, "--model", "tiny", *option, "--server", url)
    assert "--dataset NAME" in caught.value.hint


def test_gateway_that_is_not_there_is_an_error_of_one_line(
    capsys: pytest.CaptureFixture[str], images: Path
) -> None:
    outcome = invoke(capsys, "classify", images, "--server", f"http://127.0.0.1:{free_port()}")
    assert outcome.code == 1
    assert "cannot be reached" in outcome.err
    assert "Hint: Is a gateway running there?" in outcome.err
    assert len(outcome.err.splitlines()) == 2
    assert invoke(capsys, "models", "--server", "nowhere").code == 2


def test_list_of_attacks_is_not_the_gateways(capsys: pytest.CaptureFixture[str], url: str) -> None:
    outcome = invoke(capsys, "attack", "--list", "--server", url)
    assert outcome.code == 2
    assert f"curl {url}/v1/attacks" in outcome.err


def test_labels_are_of_a_known_source(url: str, images: Path) -> None:
    outcome = jobs("create", images, "--model", "tiny", "--labels", "nonsense", "--server", url)
    assert outcome.exit_code == 2
    assert "'auto', 'model', 'folder', 'file', 'array'" in outcome.output


def test_without_the_client_the_command_says_how_to_have_it() -> None:
    outcome = spawn_without("holdfast_client", "models", "--server", "http://127.0.0.1:1")
    assert outcome.code == 2
    assert "pip install ./clients/python" in outcome.err


def test_jobs_is_a_command() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["holdfast.commands"]["jobs"] == "holdfast.commands.jobs:app"
