"""What the record makes of an attack's results: flags over several batches and between several attacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from holdfast.attacking.gathering import Gathered, Gathering, between
from holdfast.attacking.parameters import Words, choose
from holdfast.attacks import AttackResult
from holdfast.attacks.flags import Flag
from holdfast.bundle import Bundle
from holdfast.manifest import Calibration, Manifest


@pytest.fixture
def manifest(tiny_bundle: Path) -> Manifest:
    return Bundle.open(tiny_bundle).manifest


def gather(manifest: Manifest, attack: str, *settings: str, eot: int = 1) -> Gathering:
    (chosen,) = choose(Words([attack], {}, settings, eot=eot), manifest)
    return Gathering(chosen, manifest)


def add(gathering: Gathering, fooled: list[bool], **changes: Any) -> Gathering:
    """Add a batch of red images, of which some are called green in the end."""
    n = len(fooled)
    images = np.full((n, 3, 8, 8), 0.5, dtype=np.float32)
    success = np.array(fooled)
    red, green = (np.eye(3, dtype=np.float32)[[k] * n] for k in (0, 1))
    values: dict[str, Any] = {
        "images": images,
        "success": success,
        "survives_rounding": success,
        "logits_before": red,
        "logits": np.where(success[:, None], green, red),
        "linf": np.full(n, 0.1),
        "l2": np.full(n, 1.0),
        "targets": None,
        "queries": np.full(n, 3),
        "forwards": 3 * n,
        "backwards": 2 * n,
        "gradients": 2 * n,
        "zero_gradients": 0,
        "fooled_by": np.full(n, "", dtype=object),
        "seed": 0,
        "seconds": 1.0,
    }
    result = AttackResult(**(values | changes))
    gathering.add([f"{k}.png" for k in range(n)], np.zeros(n, dtype=int), images, result, [None] * n)
    return gathering


def names(flags: list[Any]) -> list[str]:
    return [flag.name for flag in flags]


def test_flags_with_a_share_are_worked_out_over_all_batches(manifest: Manifest) -> None:
    pgd = gather(manifest, "pgd")
    blind = [Flag("zero_gradient", "zero gradient on 50% of the images")]
    add(pgd, [False] * 2, zero_gradients=2, flags=blind)
    add(pgd, [True] * 6, survives_rounding=np.array([True] * 5 + [False]))
    flags = pgd.record("option").flags
    assert names(flags) == ["zero_gradient", "lost_by_rounding"]
    assert "12% of the images" in flags[0].meaning  # 2 of 16
    assert flags[1].meaning.startswith("1 of 6 successes")
    add(pgd, [False] * 100)
    assert names(pgd.record("option").flags) == ["lost_by_rounding"]  # 2 of 216 are noise


def by_square(count: int, of: int) -> dict[str, Any]:
    """That so many images were fooled by Square alone."""
    return {"fooled_by": np.array(["square"] * count + ["apgd-ce"] * (of - count), dtype=object)}


def test_what_only_a_black_box_fooled_is_counted_over_all_batches(manifest: Manifest) -> None:
    ensemble = gather(manifest, "autoattack")
    for _ in range(2):  # one image of a batch is nothing, two of two batches are
        add(ensemble, [True] * 3, **by_square(1, 3))
    (flag,) = ensemble.record("option").flags
    assert flag.name == "black_box_beats_white_box"
    assert flag.meaning.startswith("square, which sees no gradient, fools 2 of 6 images")
    seen = [Flag("black_box_beats_white_box", "square fools 3 of 4 images")]
    many = add(gather(manifest, "autoattack"), [True] * 4, flags=seen, **by_square(3, 4))
    for _ in range(2):
        add(many, [True] * 1000, **by_square(0, 1000))
    assert names(many.record("option").flags) == []  # 3 of 2,004 are no sign


def test_what_a_black_box_fooled_is_counted_over_all_that_was_kept(manifest: Manifest) -> None:
    part = add(gather(manifest, "autoattack"), [True] * 3, **by_square(1, 3)).gathered()
    kept = Gathered.model_validate_json(part.model_dump_json())
    assert kept == part
    whole = Gathering(gather(manifest, "autoattack").chosen, None, keep=False)
    whole.extend(kept)
    assert names(whole.record("option").flags) == []
    whole.extend(kept)
    assert names(whole.record("option").flags) == ["black_box_beats_white_box"]
    content = part.model_dump()
    del content["blind"]  # as it was kept before it was counted
    whole.extend(Gathered.model_validate(content))
    assert len(whole.success) == 9


def test_a_black_box_before_the_last_attack_by_gradient_was_left_nothing(manifest: Manifest) -> None:
    plus = add(gather(manifest, "autoattack", "version=plus"), [True] * 6, **by_square(6, 6))
    assert plus.record("option").flags == []


def test_an_attack_without_gradients_has_none_that_could_vanish(manifest: Manifest) -> None:
    noise = add(gather(manifest, "noise"), [False] * 4, zero_gradients=8)
    assert noise.record("option").flags == []


def test_other_flags_are_raised_once(manifest: Manifest) -> None:
    pgd = gather(manifest, "pgd")
    for _ in range(2):
        add(pgd, [False], flags=[Flag("dynamic", "it takes a step")])
    assert names(pgd.record("option").flags) == ["dynamic"]


def test_totals_are_summed_over_batches(manifest: Manifest) -> None:
    pgd = add(add(gather(manifest, "pgd"), [True, False]), [True])
    totals = pgd.record("option").totals
    assert (totals.images, totals.fooled, totals.held) == (3, 2, 1)
    assert (totals.forwards, totals.backwards, totals.seconds) == (9, 6, 2.0)
    assert totals.robust_accuracy == pytest.approx(1 / 3)
    assert (totals.median_linf, totals.median_l2, totals.median_queries) == (0.1, 1.0, 3.0)


def test_totals_are_the_same_where_no_image_is_held(manifest: Manifest) -> None:
    whole = gather(manifest, "pgd")
    slim = Gathering(whole.chosen, None, keep=False)
    for fooled, changes in (
        ([True, False, True], {"linf": np.array([0.3, 0.9, 0.1]), "queries": np.array([7, 9, 4])}),
        ([True, True], {"survives_rounding": np.array([True, False])}),
    ):
        batch = add(gather(manifest, "pgd"), fooled, **changes)
        for each in (whole, slim):
            each.extend(batch.gathered())
    record = whole.record("option")
    assert record.totals.lost_by_rounding == 1
    assert record.totals.median_linf == pytest.approx(0.1)
    assert record.totals.median_queries == 3.5
    assert slim.record("option") == record.model_copy(update={"results": []})
    assert (slim.results, slim.outcomes, slim.success) == ([], whole.outcomes, whole.success)
    with pytest.raises(ValueError, match="has none to hand on"):
        slim.gathered()


def test_accuracy_is_told_of_true_labels_within_a_budget_without_a_target(
    manifest: Manifest,
) -> None:
    def accuracy(attack: str, *settings: str, labels: Any = "option", **changes: Any) -> float | None:
        added = add(gather(manifest, attack, *settings), [True, False], **changes)
        return added.record(labels).totals.robust_accuracy

    assert accuracy("pgd") == 0.5
    assert accuracy("pgd", labels="model") is None
    assert accuracy("pgd", "target=2", targets=np.array([2, 2])) is None
    assert accuracy("ddn") is None
    assert accuracy("ddn", "epsilon=0.5") == 0.5


def test_nothing_finished_is_no_accuracy(manifest: Manifest) -> None:
    totals = gather(manifest, "pgd").record("option").totals
    assert (totals.images, totals.success_rate, totals.robust_accuracy) == (0, None, None)
    assert totals.median_l2 is None


def test_probabilities_are_those_of_the_models_temperature(manifest: Manifest) -> None:
    calibration = Calibration(temperature=0.5, error_before=0.1, error_after=0.1, images=1, test_images=1)
    plain = add(gather(manifest, "pgd"), [False]).results[0]
    sure = add(gather(manifest.model_copy(update={"calibration": calibration}), "pgd"), [False]).results[0]
    assert plain.before.probability == pytest.approx(np.e / (np.e + 2))
    assert sure.before.probability == pytest.approx(np.e**2 / (np.e**2 + 2))


def test_a_black_box_that_fools_more_than_gradients_do_is_flagged(manifest: Manifest) -> None:
    pgd = add(gather(manifest, "pgd"), [True] * 2 + [False] * 8)
    noise = add(gather(manifest, "noise"), [True] * 8 + [False] * 2)
    assert names(between([pgd, noise])) == ["black_box_beats_white_box"]
    assert between([noise, add(gather(manifest, "pgd"), [True] * 9 + [False])]) == []


def test_attacks_with_other_budgets_or_aims_are_not_compared(manifest: Manifest) -> None:
    pgd = add(gather(manifest, "pgd"), [False] * 10)
    assert between([pgd, add(gather(manifest, "noise", "epsilon=0.5"), [True] * 10)]) == []
    assert between([pgd, add(gather(manifest, "ddn"), [True] * 10)]) == []
    aimed = add(gather(manifest, "pgd", "target=blue"), [False] * 10)
    assert between([aimed, add(gather(manifest, "noise"), [True] * 10)]) == []


def test_cw_far_under_pgd_is_flagged_where_both_had_the_same_settings(manifest: Manifest) -> None:
    pgd = add(gather(manifest, "pgd"), [False] * 10)
    assert names(between([pgd, add(gather(manifest, "cw-linf"), [True] * 10)])) == ["cw_below_pgd"]
    assert between([pgd, add(gather(manifest, "cw-linf", "steps=100"), [True] * 10)]) == []
    assert between([pgd, add(gather(manifest, "cw-linf", "loss=dlr"), [True] * 10)]) == []


def test_of_several_runs_of_one_attack_the_strongest_is_compared(manifest: Manifest) -> None:
    weak, strong = [True] * 2 + [False] * 8, [True] * 8 + [False] * 2
    for first, last in ((weak, strong), (strong, weak)):
        black = [add(gather(manifest, "square", f"seed={n}"), [first, last][n]) for n in range(2)]
        assert names(between([*black, add(gather(manifest, "pgd"), weak)])) == ["black_box_beats_white_box"]
        white = [add(gather(manifest, "pgd", f"steps={n + 1}"), [first, last][n]) for n in range(2)]
        assert between([*white, add(gather(manifest, "square"), strong)]) == []


def test_any_two_runs_that_differ_in_their_loss_alone_are_compared(manifest: Manifest) -> None:
    few, many = [False] * 10, [True] * 10
    alike = [add(gather(manifest, "pgd", "steps=7"), few), add(gather(manifest, "cw-linf", "steps=7"), many)]
    others = [add(gather(manifest, "pgd"), many), add(gather(manifest, "cw-linf", "steps=9"), many)]
    assert names(between([*alike, *others])) == ["cw_below_pgd"]
    assert names(between([*others, *alike])) == ["cw_below_pgd"]
    twice = [add(gather(manifest, name), runs) for name, runs in (("pgd", few), ("cw-linf", many))]
    assert names(between([*twice, *alike])) == ["cw_below_pgd"]


def test_an_attack_on_means_is_compared_with_one_on_as_many_answers(manifest: Manifest) -> None:
    """A random model is fooled less by an attack on single answers, whatever that ascends."""
    pgd, cw = add(gather(manifest, "pgd"), [False] * 10), gather(manifest, "cw-linf", eot=8)
    single = gather(manifest, "cw-linf", "stop_at_success=false")
    assert single.chosen.parameters == cw.chosen.parameters
    going_on = add(gather(manifest, "pgd", "stop_at_success=false"), [False] * 10)
    assert between([pgd, going_on, add(cw, [True] * 10)]) == []
    assert names(between([pgd, going_on, add(single, [True] * 10)])) == ["cw_below_pgd"]
