"""`holdfast attack`: what it does to images, what it writes, and what it says of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.cli import Outcome, invoke, spawn, spawn_without
from support.tiny import make_tiny_bundle, solid_png

from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.bundle import Bundle, ModelStore
from holdfast.manifest import InputSpec

ROOT = Path(__file__).parents[3]
STORE = ROOT / "model_store"
EXAMPLES = ROOT / "examples" / "images"

#: Barely red: within 8/255 of being green. And one that is out of reach.
NEAR_RED, FAR_RED = (130, 126, 0), (255, 0, 0)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with a subfolder for each of two classes; the model gets one of the images wrong."""
    root = tmp_path / "images"
    for place, colour in {
        "red/near.png": NEAR_RED,
        "red/far.png": FAR_RED,
        "green/near.png": (126, 130, 0),
        "green/wrong.png": FAR_RED,
    }.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_bytes(solid_png(colour))
    return root


def run(capsys: pytest.CaptureFixture[str], store: Path, *arguments: str | Path) -> dict[str, Any]:
    """The record of an attack on the tiny bundle."""
    outcome = invoke(capsys, "attack", "tiny", *arguments, "--store", store, "--json")
    assert outcome.code == 0, outcome.err
    record: dict[str, Any] = json.loads(outcome.out)
    return record


def by_name(attack: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The results of one attack by the last two parts of the images' paths."""
    return {"/".join(Path(result["image"]).parts[-2:]): result for result in attack["results"]}


def pixels(path: Path) -> np.ndarray:
    """(channels, height, width), as whole numbers."""
    return np.asarray(Image.open(path), dtype=np.int64).transpose(2, 0, 1)


# On the model that comes with Holdfast, in a process of its own


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path]:
    """Four example images attacked on the shipped model."""
    out = tmp_path_factory.mktemp("out") / "new"
    names = [EXAMPLES / f"{name}.png" for name in ("airplane", "cat", "deer", "horse")]
    arguments = ["--attack", "pgd", "--epsilon", "8/255", "--steps", "5", "--labels-from", "file", "--float"]
    outcome = spawn("attack", "pgd-at-cifar10", *names, *arguments, "--out", out, "--store", STORE)
    assert outcome.code == 0, outcome.err
    return outcome, out


def test_an_attack_writes_images_pictures_arrays_and_a_record(real: tuple[Outcome, Path]) -> None:
    _, out = real
    written = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    names = ("airplane", "cat", "deer", "horse")
    assert written == {
        "attack.json",
        *(f"pgd/adversarial/{name}.png" for name in names),
        *(f"pgd/perturbation/{name}.x15.9.png" for name in names),
        *(f"pgd/float/{name}.npy" for name in names),
    }


def test_the_record_is_what_the_model_says_of_the_exact_images(real: tuple[Outcome, Path]) -> None:
    _, out = real
    record = json.loads((out / "attack.json").read_text())
    bundle = ModelStore(STORE).open("pgd-at-cifar10")
    assert record["model"] == {
        "name": "pgd-at-cifar10",
        "version": bundle.version,
        "digest": bundle.manifest.digest,
        "defence": "none",
    }
    assert (record["complete"], record["labels"], record["images"]) == (True, "file", 4)
    assert {"python", "numpy", "onnxruntime"} <= set(record["libraries"])
    (attack,) = record["attacks"]
    assert attack["budget"] == {"norm": "linf", "epsilon": 8 / 255}
    assert (attack["parameters"]["steps"], attack["parameters"]["seed"]) == (5, 0)
    oracle = OnnxOracle(bundle, threads=1)
    for result in attack["results"]:
        original = pixels(EXAMPLES / f"{result['label']}.png")[None] / np.float32(255)
        exact = np.load(out / result["files"]["float_image"])
        assert exact.shape == (1, 3, 32, 32)
        assert exact.dtype == np.float32
        for side, image in (("before", original.astype(np.float32)), ("after", exact)):
            logits = oracle.logits(image)[0].astype(np.float64)
            shares = np.exp(logits) / np.exp(logits).sum()
            assert result[side]["label"] == bundle.manifest.classes[int(shares.argmax())]
            assert result[side]["probability"] == pytest.approx(shares.max(), abs=1e-4)
            assert result[side]["probability_of_label"] == pytest.approx(
                shares[result["class_index"]], abs=1e-4
            )
        assert result["reached"]["linf"] == pytest.approx(np.abs(exact - original).max(), abs=1e-6)
        assert result["reached"]["l2"] == pytest.approx(np.linalg.norm(exact - original), abs=1e-4)
        assert result["reached"]["linf"] <= 8 / 255 + 1e-6
        assert result["success"] == (result["after"]["label"] != result["label"])
    outcomes = {result["label"]: result["outcome"] for result in attack["results"]}
    assert outcomes["airplane"] == "fooled"
    assert outcomes["deer"] == "wrong before"
    assert outcomes["horse"] == "held"


def test_the_totals_are_those_of_the_results(real: tuple[Outcome, Path]) -> None:
    _, out = real
    (attack,) = json.loads((out / "attack.json").read_text())["attacks"]
    totals, results = attack["totals"], attack["results"]
    outcomes = [result["outcome"] for result in results]
    fooled = [result for result in results if result["outcome"] == "fooled"]
    assert totals["images"] == 4
    assert [totals["wrong_before"], totals["fooled"], totals["held"]] == [
        outcomes.count("wrong before"),
        outcomes.count("fooled"),
        outcomes.count("held"),
    ]
    assert totals["success_rate"] == pytest.approx(len(fooled) / (4 - outcomes.count("wrong before")))
    assert totals["robust_accuracy"] == pytest.approx(outcomes.count("held") / 4)
    asked_twice = 4  # of a batch of fewer than eight, all
    assert totals["forwards"] == sum(result["queries"] for result in results) + asked_twice
    assert 0 < totals["backwards"] <= totals["forwards"]
    assert totals["median_l2"] == pytest.approx(np.median([each["reached"]["l2"] for each in fooled]))


def test_png_files_are_the_exact_images_in_eight_bits(real: tuple[Outcome, Path]) -> None:
    _, out = real
    (attack,) = json.loads((out / "attack.json").read_text())["attacks"]
    for result in attack["results"]:
        stored = pixels(out / result["files"]["adversarial"])
        exact = np.load(out / result["files"]["float_image"])[0]
        original = pixels(EXAMPLES / f"{result['label']}.png")
        assert np.array_equal(stored, np.rint(exact * 255))
        assert result["reached_in_8_bits"]["linf"] == pytest.approx(np.abs(stored - original).max() / 255)
        assert np.abs(stored - original).max() <= 8
        if result["outcome"] == "wrong before":
            assert np.array_equal(stored, original)


def test_perturbations_are_shown_around_mid_grey_at_the_scale_that_is_said(
    real: tuple[Outcome, Path],
) -> None:
    outcome, out = real
    assert "15.9 times larger than life" in outcome.out
    (attack,) = json.loads((out / "attack.json").read_text())["attacks"]
    for result in attack["results"]:
        assert result["files"]["perturbation_scale"] == pytest.approx(255 / 16)
        shown = pixels(out / result["files"]["perturbation"])
        exact = np.load(out / result["files"]["float_image"])[0]
        original = pixels(EXAMPLES / f"{result['label']}.png") / 255
        # A grey level of the picture is 1/255, and so 1/(255 · scale) of the image.
        assert np.abs((shown / 255 - 0.5) / (255 / 16) - (exact - original)).max() <= 0.51 / 255 / (255 / 16)


def test_classify_finds_the_adversarial_class_in_the_png_that_survives(
    real: tuple[Outcome, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    _, out = real
    (attack,) = json.loads((out / "attack.json").read_text())["attacks"]
    results = {Path(result["image"]).name: result for result in attack["results"]}
    outcome = invoke(
        capsys, "classify", out / "pgd" / "adversarial", "-m", "pgd-at-cifar10", "--store", STORE, "--json"
    )
    answers = json.loads(outcome.out)["images"]
    assert len(answers) == len(results)
    survived = 0
    for answer in answers:
        result = results[Path(answer["image"]).name]
        assert result["survives_rounding"] == (answer["label"] != result["label"])
        if result["outcome"] == "fooled" and result["survives_rounding"]:
            assert answer["label"] == result["after"]["label"]
            survived += 1
    assert survived >= 1


def test_the_table_shows_each_image_and_what_they_come_to(real: tuple[Outcome, Path]) -> None:
    outcome, out = real
    lines = outcome.out.splitlines()
    assert lines[0] == "pgd on pgd-at-cifar10/1: L∞ within 8/255, 5 steps, seed 0"
    rows = {line.split()[0]: line for line in lines if line.startswith(("airplane", "cat", "deer", "horse"))}
    assert set(rows) == {"airplane.png", "cat.png", "deer.png", "horse.png"}
    assert rows["airplane.png"].split()[1:3] == ["airplane", "airplane"]
    assert "fooled" in rows["airplane.png"]
    assert "wrong before" in rows["deer.png"]
    assert "held" in rows["horse.png"]
    assert any("of 3 fooled" in line and "1 wrong before the attack" in line for line in lines)
    assert any("accuracy 75.0 % before" in line for line in lines)
    assert lines[-1] == f"The record is {out / 'attack.json'}."
    assert "Attacking: 4 of 4 images (100%)" in outcome.err


def test_torch_is_not_needed(images: Path, tiny_store: Path) -> None:
    outcome = spawn_without("torch", "attack", "tiny", images, "--store", tiny_store)
    assert outcome.code == 0, outcome.err
    assert "fooled" in outcome.out


def test_missing_onnx_runtime_is_explained(images: Path, tiny_store: Path) -> None:
    outcome = spawn_without("onnxruntime", "attack", "tiny", images, "--store", tiny_store)
    assert outcome.code == 1
    assert "pip install 'holdfast[serve]'" in outcome.err


# Labels


def test_labels_are_the_models_own_unless_something_else_is_said(
    images: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = run(capsys, tiny_store, images)
    (attack,) = record["attacks"]
    assert record["labels"] == "model"
    assert {name: (each["label"], each["outcome"]) for name, each in by_name(attack).items()} == {
        "red/near.png": ("red", "fooled"),
        "red/far.png": ("red", "held"),
        "green/near.png": ("green", "fooled"),
        "green/wrong.png": ("red", "held"),
    }
    assert attack["totals"]["robust_accuracy"] is None  # nobody said what is right


def test_labels_are_the_names_of_folders(
    images: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = run(capsys, tiny_store, images, "--labels-from", "folder")
    results = by_name(record["attacks"][0])
    assert {name: each["label"] for name, each in results.items()} == {
        name: name.partition("/")[0] for name in results
    }
    wrong = results["green/wrong.png"]
    assert (wrong["outcome"], wrong["success"], wrong["queries"], wrong["reached"]["linf"]) == (
        "wrong before",
        True,
        1,
        0.0,
    )
    assert record["attacks"][0]["totals"]["robust_accuracy"] == 0.25


@pytest.mark.parametrize("label", ["green", "1"])
def test_one_label_may_be_given_for_all_images_by_name_or_number(
    images: Path, tiny_store: Path, label: str, capsys: pytest.CaptureFixture[str]
) -> None:
    record = run(capsys, tiny_store, images / "green", "--label", label)
    assert {name: each["outcome"] for name, each in by_name(record["attacks"][0]).items()} == {
        "green/near.png": "fooled",
        "green/wrong.png": "wrong before",
    }


@pytest.mark.parametrize("name", ["red.png", "red-12.png", "red_0012.png", "red7.png"])
def test_labels_are_the_names_of_files_that_may_have_numbers(
    tmp_path: Path, tiny_store: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(solid_png(NEAR_RED))
    record = run(capsys, tiny_store, tmp_path, "--labels-from", "file")
    assert record["attacks"][0]["results"][0]["label"] == "red"


def test_a_folder_is_known_by_its_name_from_inside_it_too(
    images: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(images / "red")
    record = run(capsys, tiny_store, "near.png", "--labels-from", "folder")
    assert record["attacks"][0]["results"][0]["label"] == "red"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--label", "mauve"], "--label: there is no class 'mauve'"),
        (["--label", "3"], "--label: there is no class '3'"),
        (["--labels-from", "file"], "the file's name, 'near', is that of no class"),
        (["--label", "red", "--labels-from", "folder"], "say the same thing twice"),
    ],
)
def test_labels_that_are_no_classes_are_refused_before_anything_is_run(
    images: Path,
    tiny_store: Path,
    tmp_path: Path,
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    outcome = invoke(capsys, "attack", "tiny", images, *arguments, "--store", tiny_store, "--out", out)
    assert outcome.code == 2
    assert message in outcome.err
    assert "twice" in message or "0 red, 1 green, 2 blue" in outcome.err
    assert not out.exists()


# Attacks


@pytest.mark.parametrize(("target", "reached"), [("blue", "blue"), ("2", "blue"), ("least-likely", "blue")])
def test_a_target_is_a_class_by_name_or_number_or_a_way_to_choose_one(
    images: Path, tiny_store: Path, target: str, reached: str, capsys: pytest.CaptureFixture[str]
) -> None:
    image = images / "red" / "near.png"
    record = run(capsys, tiny_store, image, "--target", target, "--epsilon", "0.4")
    (result,) = record["attacks"][0]["results"]
    assert (result["target"], result["after"]["label"], result["outcome"]) == (reached, reached, "fooled")
    outcome = invoke(capsys, "attack", "tiny", image, "--target", target, "--store", tiny_store)
    header, _, row, *_ = outcome.out.splitlines()[1:]
    assert header.split()[:2] == ["image", "target"]
    assert row.split()[:2] == ["near.png", reached]


def test_a_minimising_attack_finds_the_smallest_perturbation(
    images: Path, tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model compares means: to make them equal every value of two channels moves by 2/255."""
    record = run(capsys, tiny_store, images / "red" / "near.png", "-a", "ddn", "--out", tmp_path / "out")
    (attack,) = record["attacks"]
    (result,) = attack["results"]
    assert attack["budget"] is None
    assert attack["minimises"] is True
    assert result["reached"]["l2"] == pytest.approx(2 / 255 * np.sqrt(2 * 64), rel=0.05)
    # No budget fills the picture's range, so the largest change does.
    shown = pixels(tmp_path / "out" / result["files"]["perturbation"])
    assert {shown.min(), shown.max()} & {0, 255}
    assert f".x{result['files']['perturbation_scale']:.3g}.png" in result["files"]["perturbation"]


def test_several_attacks_have_the_same_images_and_each_its_own_results(
    images: Path, tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    record = run(capsys, tiny_store, images, "-a", "pgd", "-a", "noise", "--steps", "3", "--out", out)
    pgd, noise = record["attacks"]
    assert (pgd["attack"], noise["attack"]) == ("pgd", "noise")
    assert pgd["parameters"]["steps"] == 3
    assert [each["image"] for each in pgd["results"]] == [each["image"] for each in noise["results"]]
    assert (pgd["totals"]["fooled"], noise["totals"]["fooled"]) == (2, 0)
    assert noise["totals"]["backwards"] == 0
    assert (out / "noise" / "adversarial" / "red" / "near.png").is_file()


def test_an_option_that_one_of_several_attacks_has_not_got_is_said(
    images: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(
        capsys, "attack", "tiny", images, "-a", "pgd", "-a", "noise", "--steps", "3", "--store", tiny_store
    )
    assert outcome.code == 0
    assert "noise has no steps; that is for the others." in outcome.err


def test_results_do_not_depend_on_the_size_of_the_batches(
    images: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, all_ = (run(capsys, tiny_store, images, "--batch-size", size) for size in ("1", "32"))
    for record in (one, all_):
        for attack in record["attacks"]:
            del attack["totals"]["seconds"]
    assert one["attacks"] == all_["attacks"]


def test_success_that_eight_bits_lose_is_flagged_with_how_many(
    images: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # 130 to 126 is a tie at 2.0 grey levels each: 2.1 is enough, and is rounded to the tie.
    arguments = ["--epsilon", "0.0082353", "--set", "random_start=false", "--label", "red"]
    (attack,) = run(capsys, tiny_store, images / "red" / "near.png", *arguments)["attacks"]
    (result,) = attack["results"]
    assert (result["outcome"], result["survives_rounding"]) == ("fooled", False)
    assert attack["totals"]["lost_by_rounding"] == 1
    (flag,) = attack["flags"]
    assert flag["name"] == "lost_by_rounding"
    assert flag["meaning"].startswith("1 of 1 successes are gone")
    outcome = invoke(capsys, "attack", "tiny", images / "red" / "near.png", *arguments, "--store", tiny_store)
    assert "lost in 8 bits" in outcome.out
    assert "lost_by_rounding: 1 of 1 successes" in outcome.out


def test_images_can_be_crafted_on_another_model(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = tmp_path / "store"
    make_tiny_bundle(store)
    make_tiny_bundle(store, name="source")
    record = run(capsys, store, images, "--transfer-from", "source")
    assert record["source"]["name"] == "source"
    assert record["attacks"][0]["totals"]["fooled"] == 2  # the two models are the same
    outcome = invoke(capsys, "attack", "tiny", images, "--transfer-from", "source", "--store", store)
    assert "crafted on source/1" in outcome.out.splitlines()[0]


def test_an_attack_on_means_of_answers_says_so_and_pays_for_each(
    images: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    far = [images / "red" / "far.png", "--steps", "4"]
    (single,) = run(capsys, tiny_store, *far)["attacks"]
    (mean,) = run(capsys, tiny_store, *far, "--eot", "3")["attacks"]
    assert (single["eot"], mean["eot"]) == (1, 3)
    # Of a model that does not draw, a mean of answers is the answer.
    assert mean["results"][0]["reached"] == pytest.approx(single["results"][0]["reached"], abs=1e-5)
    assert (single["totals"]["backwards"], mean["totals"]["backwards"]) == (4, 12)
    checks = single["results"][0]["queries"] - 4
    assert mean["results"][0]["queries"] == checks + 3 * (4 + 1)
    outcome = invoke(capsys, "attack", "tiny", *far, "--eot", "3", "--store", tiny_store)
    assert outcome.out.startswith("pgd on tiny/1: L∞ within 8/255, 4 steps, mean of 3 answers, seed 0\n")


def test_the_mean_that_an_attack_takes_by_itself_is_said_too(
    images: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [images, "-a", "autoattack", "--set", "version=rand", "--steps", "2"]
    (found,) = run(capsys, tiny_store, *arguments)["attacks"]
    assert found["eot"] == 20
    outcome = invoke(capsys, "attack", "tiny", *arguments, "--store", tiny_store)
    assert ", 2 steps, mean of 20 answers, seed 0" in outcome.out


def test_models_of_other_images_cannot_transfer(
    images: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(
        capsys, "attack", tiny_bundle, images, "--transfer-from", "pgd-at-cifar10", "--store", STORE
    )
    assert outcome.code == 2
    assert "(3, 32, 32) of 10 classes and (3, 8, 8) of 3" in outcome.err


def test_a_loss_that_the_model_has_not_got_is_refused_by_name(
    images: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "attack", "tiny", images, "--set", "loss=ce+manifold", "--store", tiny_store)
    assert outcome.code == 2
    assert "pgd cannot be run on tiny" in outcome.err
    assert "'manifold'" in outcome.err


# Images


def test_a_bad_image_does_not_stop_the_others(
    images: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, missing = images / "red" / "broken.png", images / "red" / "missing.png"
    broken.write_bytes(solid_png("red")[:40])
    arguments = [broken, images / "red" / "near.png", missing, "--store", tiny_store]
    outcome = invoke(capsys, "attack", "tiny", *arguments, "--json")
    assert outcome.code == 1
    record = json.loads(outcome.out)
    assert [Path(each["image"]).name for each in record["failures"]] == ["broken.png", "missing.png"]
    assert len(record["attacks"][0]["results"]) == 1
    assert record["complete"] is True
    assert f"{missing}: The file cannot be read: No such file or directory." in outcome.err
    assert "2 of 3 images could not be attacked." in outcome.err


def test_images_of_other_sizes_are_attacked_as_the_model_sees_them(
    tmp_path: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "large.png").write_bytes(solid_png(NEAR_RED, (50, 30)))
    record = run(capsys, tiny_store, tmp_path / "large.png", "--out", tmp_path / "out")
    (result,) = record["attacks"][0]["results"]
    assert (
        pixels(tmp_path / "out" / result["files"]["adversarial"]).shape
        == InputSpec(channels=3, height=8, width=8).shape
    )


def test_a_folder_without_images_is_a_usage_error(
    tmp_path: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "attack", "tiny", tmp_path, "--store", tiny_store)
    assert outcome.code == 2
    assert "no images" in outcome.err


def test_bundle_and_images_are_asked_for(tiny_store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ["tiny"]):
        outcome = invoke(capsys, "attack", *arguments, "--store", tiny_store)
        assert outcome.code == 2
        assert "holdfast attack BUNDLE IMAGE" in outcome.err


def test_a_bundle_is_named_by_its_directory_too(
    images: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Bundle.open(tiny_bundle).name == "tiny"
    assert invoke(capsys, "attack", tiny_bundle, images).code == 0


def test_names_are_shown_as_they_are(
    tmp_path: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "[red] image.png").write_bytes(solid_png(NEAR_RED))
    out = tmp_path / "[bold]out"
    outcome = invoke(capsys, "attack", "tiny", tmp_path, "--store", tiny_store, "--out", out)
    assert "[red] image.png" in outcome.out
    assert str(out) in outcome.out


def test_a_narrow_terminal_sees_names_and_outcomes(images: Path, tiny_store: Path) -> None:
    outcome = spawn("attack", "tiny", images, "--store", tiny_store, COLUMNS="70")
    rows = [line for line in outcome.out.splitlines() if "near.png" in line]
    assert len(rows) == 2
    assert all(len(line) <= 70 and line.rstrip().endswith("fooled") for line in rows)
