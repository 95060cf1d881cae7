"""What holds for every attack: the range, the budget, the seed, the batch, the counts, the flags."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.attacks import QUICK, quick

from holdfast.attacks import AttackResult, GradientAnswer, Loss, PGDParameters, attack, catalogue, find
from holdfast.attacks.parameters import BoundedParameters
from holdfast.errors import UsageError

CLASSES, SHAPE = 5, (3, 5, 5)
NAMES = list(catalogue())


class Linear:
    """z = W x + b in numpy, its gradients worked out by hand."""

    classes = CLASSES

    def __init__(self, seed: int = 0) -> None:
        draw = np.random.default_rng(seed)
        size = int(np.prod(SHAPE))
        self.weight = draw.normal(size=(CLASSES, size)).astype(np.float32) / np.float32(size**0.5)
        self.bias = draw.normal(size=CLASSES).astype(np.float32) * np.float32(0.05)
        self.largest = 0

    def logits(self, images: np.ndarray) -> np.ndarray:
        assert images.dtype == np.float32
        self.largest = max(self.largest, len(images))
        return images.reshape(len(images), -1) @ self.weight.T + self.bias

    def gradient(
        self, images: np.ndarray, labels: np.ndarray, loss: Any, targets: Any = None, originals: Any = None
    ) -> GradientAnswer:
        logits = self.logits(images)
        slope = np.stack(
            [_slope(z, y, t, loss) for z, y, t in zip(logits, labels, _or(targets, labels), strict=True)]
        )
        values = (slope * logits).sum(1)
        return GradientAnswer(logits, values, (slope @ self.weight).reshape(images.shape))


def _or(targets: Any, labels: np.ndarray) -> np.ndarray:
    return labels if targets is None else targets


def _slope(z: np.ndarray, y: int, t: int, loss: Loss) -> np.ndarray:
    """dloss/dz; of DLR its direction, which is that of the margin."""
    unit = np.eye(CLASSES, dtype=np.float32)
    if loss in (Loss.CROSS_ENTROPY, Loss.TARGETED_CROSS_ENTROPY):
        p = np.exp(z - z.max())
        p /= p.sum()
        return p - unit[y] if loss is Loss.CROSS_ENTROPY else unit[t] - p
    if loss in (Loss.MARGIN, Loss.DLR):
        return unit[int(np.argmax(np.where(np.arange(CLASSES) == y, -np.inf, z)))] - unit[y]
    if loss is Loss.TARGETED_MARGIN:
        return unit[t] - unit[int(np.argmax(np.where(np.arange(CLASSES) == t, -np.inf, z)))]
    return unit[t] - unit[y]


def batch(n: int = 24, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(seed)
    images = draw.random((n, *SHAPE), dtype=np.float32)
    labels = Linear().logits(images).argmax(1)
    labels[::6] = (labels[::6] + 1) % CLASSES  # some that the model gets wrong
    return images, labels


def run(name: str, images: np.ndarray, labels: np.ndarray, **changes: Any) -> AttackResult:
    return attack(Linear(), images, labels, quick(name, **changes))


def test_every_attack_is_held_to_these_rules() -> None:
    assert set(QUICK) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
@given(
    epsilon=st.floats(0, 1),
    norm=st.sampled_from(["linf", "l2"]),
    seed=st.integers(0, 1000),
    n=st.integers(1, 9),
)
@settings(max_examples=15, deadline=None)
def test_results_keep_to_the_range_and_the_budget(
    name: str, epsilon: float, norm: str, seed: int, n: int
) -> None:
    images, labels = batch(n, seed)
    images[0] = images[0].round()  # corners of the range
    parameters = quick(name, epsilon=epsilon, norm=norm, seed=seed)
    result = attack(Linear(), images, labels, parameters)
    assert result.images.dtype == np.float32
    assert result.images.shape == images.shape
    assert result.images.min() >= 0
    assert result.images.max() <= 1
    if parameters.budget is not None:
        kept, radius = parameters.budget
        reached = result.linf if kept == "linf" else result.l2
        assert reached.max() <= radius * (1 + 1e-5) + 1e-6
    assert np.array_equal(result.success, Linear().logits(result.images).argmax(1) != labels)


@pytest.mark.parametrize("name", NAMES)
def test_an_images_result_does_not_depend_on_its_batch(name: str) -> None:
    images, labels = batch()
    whole = run(name, images, labels, epsilon=0.05)
    order = np.random.default_rng(0).permutation(len(images))
    shuffled = run(name, images[order], labels[order], epsilon=0.05)
    # A matrix product's rounding depends on the batch, and can turn the sign of a gradient near zero.
    same = np.abs(shuffled.images - whole.images[order]).max((1, 2, 3)) < 1e-4
    assert same.mean() >= 0.95
    cut = attack(Linear(), images, labels, quick(name, epsilon=0.05), batch_size=5)
    assert (np.abs(cut.images - whole.images).max((1, 2, 3)) < 1e-4).mean() >= 0.95
    assert np.array_equal(cut.success, whole.success)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_result(name: str) -> None:
    first, second = (run(name, *batch(), epsilon=0.05, seed=4) for _ in range(2))
    assert np.array_equal(first.images, second.images)
    assert first.seed == 4


@pytest.mark.parametrize("name", NAMES)
def test_memory_is_bounded_by_the_batch_size(name: str) -> None:
    images, labels = batch()
    model = Linear()
    attack(model, images, labels, quick(name, epsilon=0.05), batch_size=4)
    samples = getattr(quick(name), "samples_per_call", 1)
    assert model.largest <= max(8, 4 * samples)


@pytest.mark.parametrize("name", NAMES)
def test_progress_ends_at_its_total_and_can_cancel(name: str) -> None:
    images, labels = batch()
    seen: list[tuple[int, int]] = []
    attack(Linear(), images, labels, quick(name, epsilon=0.01), progress=lambda d, t: seen.append((d, t)))
    assert seen[-1][0] == seen[-1][1]
    shares = [done / total for done, total in seen]
    assert shares == sorted(shares)

    class Cancelled(Exception):  # noqa: N818
        pass

    def cancel(done: int, total: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        attack(Linear(), images, labels, quick(name, epsilon=0.01), progress=cancel)


@pytest.mark.parametrize("name", NAMES)
def test_a_budget_of_nothing_changes_nothing(name: str) -> None:
    images, labels = batch()
    result = run(name, images, labels, epsilon=0.0)
    if quick(name, epsilon=0.0).budget is not None:
        np.testing.assert_allclose(result.images, images, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_an_attack_beats_noise_or_at_least_equals_it(name: str) -> None:
    images, labels = batch(60)
    floor = run("noise", images, labels, epsilon=0.1).success.sum()
    assert run(name, images, labels, epsilon=0.1).success.sum() >= floor


@pytest.mark.parametrize("name", NAMES)
def test_each_attack_says_where_it_comes_from(name: str) -> None:
    entry = find(name)
    assert entry.summary.endswith(".")
    assert entry.source
    for field, schema in entry.parameters.model_json_schema()["properties"].items():
        assert schema.get("description"), f"{name}.{field} is not described"


def test_an_unknown_attack_is_refused_with_those_there_are() -> None:
    with pytest.raises(UsageError) as caught:
        find("pgdd")
    assert "pgd" in caught.value.hint


def test_results_in_eight_bits_are_judged_too() -> None:
    images, labels = batch(200)
    # A third of a grey level crosses some boundaries, and rounding takes every such step back.
    result = run("pgd", images.round(2), labels, epsilon=0.3 / 255, step_size=0.1 / 255)
    assert isinstance(quick("pgd"), BoundedParameters)
    lost = result.success & ~result.survives_rounding
    assert lost.any() == any(flag.name == "lost_by_rounding" for flag in result.flags)
    assert np.array_equal(
        result.survives_rounding,
        np.where(
            result.linf > 0,
            (Linear().logits((result.images * 255).round() / np.float32(255)).argmax(1) != labels)
            & result.success,
            result.success,
        ),
    )


def test_a_model_that_answers_at_random_raises_a_flag() -> None:
    class Random(Linear):
        def __init__(self) -> None:
            super().__init__()
            self.draw = np.random.default_rng(0)

        def logits(self, images: np.ndarray) -> np.ndarray:
            return super().logits(images) + self.draw.normal(size=(len(images), CLASSES)).astype(np.float32)

    result = attack(Random(), *batch(), PGDParameters(steps=2))
    assert "randomised" in [flag.name for flag in result.flags]
    assert "randomised" not in [flag.name for flag in run("pgd", *batch()).flags]


def test_a_model_that_takes_gradients_at_inference_raises_a_flag() -> None:
    class Dynamic(Linear):
        dynamic = True

    flags = attack(Dynamic(), *batch(), PGDParameters(steps=2)).flags
    assert [flag.name for flag in flags][:1] == ["dynamic"]


def test_a_transfer_attack_is_crafted_on_its_source_and_judged_on_the_victim() -> None:
    images, labels = batch(60)
    source, victim = Linear(seed=5), Linear()
    parameters = PGDParameters(epsilon=0.1, steps=5, stop_at_success=False)
    crafted = attack(source, images, labels, parameters)
    moved = attack(victim, images, labels, parameters, source=source)
    np.testing.assert_allclose(moved.images, crafted.images, atol=1e-6)
    assert np.array_equal(moved.success, victim.logits(moved.images).argmax(1) != labels)
    direct = attack(victim, images, labels, parameters)
    assert moved.success.sum() < direct.success.sum()


@pytest.mark.parametrize(("target", "aim"), [(2, 2), ("least-likely", None), ("random", None)])
def test_a_target_is_a_class_or_a_way_to_choose_one(target: int | str, aim: int | None) -> None:
    images, labels = batch(40)
    parameters = PGDParameters.model_validate({"target": target, "epsilon": 1, "step_size": 0.2})
    result = attack(Linear(), images, labels, parameters)
    reached = Linear().logits(result.images).argmax(1)
    if aim is not None:
        assert np.array_equal(result.success, (reached == aim) & (labels != aim))
    if target == "least-likely":
        scores = Linear().logits(images)
        scores[np.arange(40), labels] = np.inf
        assert np.array_equal(result.success, reached == scores.argmin(1))
    assert result.success.mean() > 0.7


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda x, y: (x[0], y), "channels"),
        (lambda x, y: (x, y[:3]), "labels"),
        (lambda x, y: (x, y + CLASSES), "classes 0 to 4"),
        (lambda x, y: (x[:0], y[:0]), "no images"),
    ],
)
def test_what_does_not_fit_is_refused(change: Callable[..., Any], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        attack(Linear(), *change(*batch()), PGDParameters())


def test_a_target_that_is_no_class_is_refused() -> None:
    with pytest.raises(ValueError, match="target: there is no class 9"):
        attack(Linear(), *batch(), PGDParameters(target=9))


def test_flags_do_not_depend_on_the_size_of_the_batches() -> None:
    class Blind(Linear):
        def gradient(self, images: np.ndarray, *rest: Any) -> GradientAnswer:
            answer = super().gradient(images, *rest)
            dark = (images.mean(axis=(1, 2, 3)) < 0.49)[:, None, None, None]
            return GradientAnswer(answer.logits, answer.loss, np.where(dark, 0, answer.gradient))

    images, labels = batch(24)
    parameters = PGDParameters(epsilon=0.01, steps=2, random_start=False)
    whole, cut = (attack(Blind(), images, labels, parameters, batch_size=size) for size in (24, 5))
    assert [flag.name for flag in whole.flags][:1] == ["zero_gradient"]
    assert cut.flags == whole.flags
    assert (cut.gradients, cut.zero_gradients) == (whole.gradients, whole.zero_gradients)


def test_the_classes_that_were_aimed_at_are_in_the_result() -> None:
    images, labels = batch(12)
    assert attack(Linear(), images, labels, PGDParameters(steps=1)).targets is None
    result = attack(Linear(), images, labels, PGDParameters(steps=1, target="random"), batch_size=5)
    assert result.targets is not None
    assert (result.targets != labels).all()
    assert np.array_equal(result.success, (Linear().logits(result.images).argmax(1) == result.targets))
