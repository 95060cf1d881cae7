"""The words of `holdfast attack`: parameters by their schema, the lists, the costs, the help."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.cli import invoke, spawn
from support.tiny import make_tiny_bundle, solid_png

from holdfast.attacking.parameters import Chosen, Words, choose
from holdfast.attacks import catalogue
from holdfast.attacks.parameters import CHECKS
from holdfast.bundle import Bundle
from holdfast.errors import UsageError
from holdfast.manifest import Manifest, ThreatModel


@pytest.fixture
def manifest(tiny_bundle: Path) -> Manifest:
    return Bundle.open(tiny_bundle).manifest


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    path.write_bytes(solid_png((130, 126, 0)))
    return path


def chosen(manifest: Manifest, attack: str, *settings: str, **options: str) -> Chosen:
    (only,) = choose(Words([attack], options, settings), manifest)
    return only


def within(manifest: Manifest, norm: str, epsilon: float) -> Manifest:
    threat = ThreatModel.model_validate({"norm": norm, "epsilon": epsilon})
    return manifest.model_copy(update={"threat_model": threat})


@pytest.mark.parametrize("name", list(catalogue()))
def test_every_parameter_of_every_attack_can_be_set_to_its_default(name: str, manifest: Manifest) -> None:
    kind = catalogue()[name].parameters
    for field, value in kind().model_dump(mode="json").items():
        written = (
            "none" if value is None else json.dumps(value) if isinstance(value, list | dict) else str(value)
        )
        given = chosen(manifest, name, f"{field}={written}").parameters
        assert getattr(given, field) == getattr(kind(), field), field


def test_values_are_read_as_the_schema_has_them(manifest: Manifest) -> None:
    words = ["steps=7", "random_start=false", "step_size=1/255", "loss=0.5*cw+ce", "target=random"]
    parameters = chosen(manifest, "pgd", *words, epsilon="0.1", seed="5").parameters.model_dump()
    assert parameters == {
        "seed": 5,
        "target": "random",
        "norm": "linf",
        "epsilon": 0.1,
        "steps": 7,
        "step_size": 1 / 255,
        "random_start": False,
        "restarts": 1,
        "loss": "0.5*cw+ce",
        "stop_at_success": True,
    }


def test_a_setting_may_be_for_one_of_several_attacks(manifest: Manifest) -> None:
    words = Words(["pgd", "cw-linf"], {"steps": "5"}, ["cw-linf.steps=9", "restarts=2"])
    pgd, cw = (each.parameters.model_dump() for each in choose(words, manifest))
    assert (pgd["steps"], pgd["restarts"]) == (5, 2)
    assert (cw["steps"], cw["restarts"]) == (9, 2)


def test_an_option_is_ignored_by_attacks_without_it_where_another_has_it(manifest: Manifest) -> None:
    fgsm, pgd = choose(Words(["fgsm", "pgd"], {"steps": "5"}), manifest)
    assert (fgsm.ignored, pgd.ignored) == (("steps",), ())


def test_the_norm_of_an_attack_that_has_no_other_may_be_said(manifest: Manifest) -> None:
    said = chosen(manifest, "ddn", norm="l2")
    assert (said.parameters, said.ignored) == (chosen(manifest, "ddn").parameters, ())
    _, ddn = choose(Words(["pgd", "ddn"], {"norm": "linf"}), manifest)
    assert ddn.ignored == ("norm",)
    with pytest.raises(UsageError, match="ddn has no parameter 'norm'"):
        chosen(manifest, "ddn", norm="linf")


@pytest.mark.parametrize(
    ("attacks", "options", "settings", "message", "hint"),
    [
        (["pgdd"], {}, [], "no attack 'pgdd'", "fgsm, pgd"),
        (["pgd", "pgd"], {}, [], "pgd is named twice", "once"),
        (["fgsm"], {"steps": "5"}, [], "fgsm has no parameter 'steps'", "random_start"),
        (["pgd"], {}, ["stepz=5"], "pgd has no parameter 'stepz'", "steps"),
        (["pgd"], {}, ["fgsm.epsilon=1"], "fgsm is not among the attacks: pgd", ""),
        (["pgd"], {}, ["steps"], "--set 'steps' is no setting", "NAME=VALUE"),
        (["pgd"], {}, ["=5"], "is no setting", "NAME=VALUE"),
        (["pgd"], {}, [".steps=5"], "is no setting", "NAME=VALUE"),
        (["pgd"], {"steps": "0"}, [], "steps cannot be '0': it is integer from 1 to 10,000", "Gradient"),
        (["pgd"], {"steps": "many"}, [], "steps cannot be 'many'", "Gradient"),
        (["pgd"], {"epsilon": "eight"}, [], "epsilon cannot be 'eight': 'eight' is not a budget", "budget"),
        (["pgd"], {"epsilon": "-1/255"}, [], "epsilon cannot be '-1/255'", "budget"),
        (["pgd"], {"norm": "l1"}, [], "norm cannot be 'l1': it is linf, l2", "perturbation"),
        (["pgd"], {"seed": "-1"}, [], "seed cannot be '-1': it is integer from 0", "random"),
        (["pgd"], {"target": "mauve"}, [], "target cannot be 'mauve'", "class"),
        (["pgd"], {"target": "3"}, [], "target: there is no class 3", "0 red, 1 green, 2 blue"),
        (["pgd"], {}, ["loss=cee"], "loss cannot be 'cee': no loss is called 'cee'", "cross-entropy"),
        (["pgd"], {}, ["random_start=perhaps"], "it is true, false", "Start"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_name_and_what_there_is(
    attacks: list[str],
    options: dict[str, str],
    settings: list[str],
    message: str,
    hint: str,
    manifest: Manifest,
) -> None:
    with pytest.raises(UsageError) as caught:
        choose(Words(attacks, options, settings), manifest)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_the_norm_and_the_budget_are_the_models_own_unless_they_are_given(manifest: Manifest) -> None:
    def budget(manifest: Manifest, attack: str = "pgd", **options: str) -> tuple[str, float] | None:
        return chosen(manifest, attack, **options).parameters.budget

    trained = within(manifest, "l2", 0.5)
    assert budget(trained) == ("l2", 0.5)
    assert budget(trained, epsilon="0.25") == ("l2", 0.25)
    assert budget(trained, norm="linf") == ("linf", 8 / 255)  # which is what 8/255 is for
    assert budget(within(manifest, "linf", 4 / 255)) == ("linf", 4 / 255)
    assert budget(within(manifest, "linf", 0.0)) == ("linf", 8 / 255)  # trained without an adversary
    assert budget(trained, "ddn") is None  # it minimises freely unless it is told not to
    assert budget(trained, "ddn", epsilon="1") == ("l2", 1.0)


def test_a_norm_whose_budget_nobody_knows_is_asked_for_one(manifest: Manifest) -> None:
    with pytest.raises(UsageError, match="pgd in l2 needs a budget") as caught:
        chosen(manifest, "pgd", norm="l2")
    assert "--epsilon" in caught.value.hint


def test_a_class_whose_name_is_a_number_goes_before_the_number(manifest: Manifest) -> None:
    numbered = manifest.model_copy(update={"classes": ["2", "1", "0"]})
    assert chosen(numbered, "pgd", target="2").parameters.model_dump()["target"] == 0


def test_an_image_for_another_model_takes_every_step_unless_it_is_told_to_stop(manifest: Manifest) -> None:
    def stops(*settings: str, transfer: bool = True) -> bool:
        (only,) = choose(Words(["pgd"], {}, settings, transfer=transfer), manifest)
        return bool(only.parameters.model_dump()["stop_at_success"])

    assert not stops()
    assert stops("stop_at_success=true")
    assert stops(transfer=False)
    (fgsm,) = choose(Words(["fgsm"], transfer=True), manifest)  # which has no such parameter
    assert fgsm.parameters == catalogue()["fgsm"].parameters()


def test_means_are_refused_to_an_attack_that_takes_means_by_itself(manifest: Manifest) -> None:
    with pytest.raises(UsageError, match="autoattack takes the mean of 20 answers by itself") as caught:
        choose(Words(["pgd", "autoattack"], {}, ["version=rand"], eot=5), manifest)
    assert "--eot" in caught.value.hint
    pgd, ensemble = choose(Words(["pgd", "autoattack"], {}, ["version=rand"]), manifest)
    assert (pgd.answers, ensemble.answers) == (1, 20)
    pgd, ensemble = choose(Words(["pgd", "autoattack"], eot=5), manifest)
    assert (pgd.answers, ensemble.answers) == (5, 5)
    assert not pgd.parameters.model_dump()["stop_at_success"], (
        "what just fools a mean fools few single answers"
    )
    (kept,) = choose(Words(["pgd"], {}, ["stop_at_success=true"], eot=5), manifest)
    assert kept.parameters.model_dump()["stop_at_success"]


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "many", "", "10001", "99999999999999999999", "²"])
def test_a_number_of_answers_that_has_no_mean_is_refused_before_anything_is_run(
    number: str, image: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "attack", "tiny", image, "--eot", number, "--store", tiny_store)
    assert (outcome.code, outcome.out) == (2, "")
    assert f"--eot cannot be {number!r}: it is an integer from 1 to 10,000." in outcome.err


# Lists


def test_the_list_has_every_attack_with_its_paper(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, "attack", "--list")
    assert outcome.code == 0
    lines = outcome.out.splitlines()
    for attack in catalogue().values():
        (listed,) = [line for line in lines if line.startswith(f"{attack.name} ") and attack.access in line]
        assert attack.summary in listed
        assert any(line.startswith(f"{attack.name} ") and attack.source in line for line in lines)


def test_the_list_for_programs_has_each_attacks_schema(capsys: pytest.CaptureFixture[str]) -> None:
    listed = json.loads(invoke(capsys, "attack", "--list", "--json").out)
    assert [each["name"] for each in listed] == list(catalogue())
    for each in listed:
        attack = catalogue()[each["name"]]
        assert each["parameters"] == attack.parameters.model_json_schema()
        assert each["minimises"] == attack.minimises
        assert each["norms"]


@pytest.mark.parametrize("name", list(catalogue()))
def test_one_attacks_parameters_are_listed_in_words(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, "attack", "--list", "--attack", name)
    assert outcome.code == 0
    assert outcome.out.startswith(f"{name}: ")
    rows = {line.split()[0]: line for line in outcome.out.splitlines() if line.strip()}
    assert set(catalogue()[name].parameters.model_fields) <= set(rows)


def test_one_attacks_schema_is_written(capsys: pytest.CaptureFixture[str]) -> None:
    outcome = invoke(capsys, "attack", "--schema", "pgd")
    assert outcome.code == 0
    assert json.loads(outcome.out) == catalogue()["pgd"].parameters.model_json_schema()
    unknown = invoke(capsys, "attack", "--schema", "pgdd")
    assert (unknown.code, unknown.out) == (2, "")
    assert "There are: noise, fgsm, pgd" in unknown.err


# Costs


def test_the_cost_is_known_before_it_is_spent(
    image: Path, tiny_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["-a", "pgd", "-a", "fgsm", "--steps", "7", "--set", "restarts=2", "--out", out]
    outcome = invoke(capsys, "attack", "tiny", image, *arguments, "--cost", "--json", "--store", tiny_store)
    content = json.loads(outcome.out)
    assert content["images"] == 1
    pgd, fgsm = content["attacks"]
    assert (pgd["forwards"], pgd["backwards"]) == (2 * 7 + 1 + CHECKS.forwards, 2 * 7)
    assert (fgsm["forwards"], fgsm["backwards"]) == (1 + CHECKS.forwards, 1)
    assert (pgd["forwards_in_all"], fgsm["forwards_in_all"]) == (pgd["forwards"] + 1, fgsm["forwards"] + 1)
    assert pgd["seconds"] == pytest.approx(14 * pgd["seconds_per_gradient"] + 5 * pgd["seconds_per_forward"])
    assert pgd["seconds"] > fgsm["seconds"] > 0
    assert not out.exists()


def test_what_is_asked_twice_is_in_the_cost_once_for_each_batch(
    tmp_path: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for index in range(23):
        (tmp_path / f"{index}.png").write_bytes(solid_png((130, 126, 0)))
    words = ["--batch-size", "10", "--cost", "--json", "--store", str(tiny_store)]
    (pgd,) = json.loads(invoke(capsys, "attack", "tiny", tmp_path, *words).out)["attacks"]
    assert pgd["forwards_in_all"] == 23 * pgd["forwards"] + 8 + 8 + 3


def test_every_answer_of_a_mean_is_in_the_cost(
    image: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def cost(*arguments: str) -> tuple[int, int]:
        words = ["--steps", "7", *arguments, "--cost", "--json", "--store", str(tiny_store)]
        (pgd,) = json.loads(invoke(capsys, "attack", "tiny", image, *words).out)["attacks"]
        return pgd["forwards"], pgd["backwards"]

    assert cost("--eot", "1") == cost() == (7 + CHECKS.forwards, 7)
    assert cost("--eot", "5") == (5 * (7 + 1) + CHECKS.forwards, 5 * 7)
    assert cost("--transfer-from", "tiny") == (7 + 1 + CHECKS.forwards, 7)


def test_costs_are_shown_for_people(
    image: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = invoke(capsys, "attack", "tiny", image, "--cost", "--store", tiny_store)
    header, _, row, words = outcome.out.splitlines()
    assert header.split()[:3] == ["attack", "forward", "backward"]
    assert row.split()[:5] == ["pgd", "23", "20", "1", "24"]
    assert "ms for a forward pass" in words


# Help


def test_the_help_tells_the_options_by_what_they_are_about() -> None:
    outcome = spawn("attack", "--help", COLUMNS="120")
    assert outcome.code == 0
    for words in ("The attack", "The images", "The results", "In place of an attack", "--transfer-from"):
        assert words in outcome.out
    assert "--epsilon" in outcome.out
    assert "By default the model's own." in outcome.out


def test_options_about_files_want_a_folder(
    image: Path, tiny_store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for option in ("--float", "--force"):
        outcome = invoke(capsys, "attack", "tiny", image, option, "--store", tiny_store)
        assert outcome.code == 2
        assert "--out DIR" in outcome.err


def test_an_unknown_bundle_is_an_error_that_names_the_others(
    image: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_tiny_bundle(tmp_path / "store", name="one")
    outcome = invoke(capsys, "attack", "two", image, "--store", tmp_path / "store")
    assert outcome.code == 1
    assert "It has: one" in outcome.err
