"""PGD and FGSM: against foolbox, on a linear model whose answer is known, and on both kinds of array."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from holdfast.attacks import FGSMParameters, PGDParameters, SeededNoise, attack
from holdfast.attacks.ball import ball
from holdfast.attacks.noise import TorchNoise
from holdfast.attacks.oracle import GradientAnswer
from holdfast.attacks.parameters import TWICE
from holdfast.attacks.torch_oracle import TorchOracle

with warnings.catch_warnings():
    # foolbox imports a name that scipy has moved.
    warnings.simplefilter("ignore", DeprecationWarning)
    import eagerpy
    import foolbox

SHAPE = (3, 6, 6)


@pytest.fixture
def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(108, 5)).requires_grad_(False)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(40, *SHAPE, generator=generator), torch.randint(0, 5, (40,), generator=generator)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_pgd_is_foolboxs_pgd(linear: nn.Module, batch: tuple[Tensor, Tensor], norm: str) -> None:
    images, labels = batch
    epsilon, step = (0.05, 0.01) if norm == "linf" else (0.8, 0.2)
    kinds: dict[str, Any] = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}
    reference = kinds[norm](abs_stepsize=step, steps=7, random_start=False)
    model = foolbox.PyTorchModel(linear.eval(), bounds=(0, 1))
    expected = reference.run(
        model, eagerpy.astensor(images), criterion=eagerpy.astensor(labels), epsilon=epsilon
    ).raw
    parameters = PGDParameters.model_validate(
        {
            "norm": norm,
            "epsilon": epsilon,
            "step_size": step,
            "steps": 7,
            "random_start": False,
            "stop_at_success": False,
        }
    )
    got = attack(TorchOracle(linear, 5), images, labels, parameters)
    torch.testing.assert_close(got.images, expected, atol=1e-5, rtol=0)


def test_on_a_linear_model_linf_pgd_reaches_the_closed_form_optimum(
    linear: nn.Module, batch: tuple[Tensor, Tensor]
) -> None:
    images, labels = batch[0] * 0.5 + 0.25, batch[1]
    targets = (labels + 1) % 5
    weight: Tensor = linear[1].weight  # type: ignore[index, assignment]
    expected = images + 0.05 * (weight[targets] - weight[labels]).sign().view_as(images)
    parameters = PGDParameters(epsilon=0.05, step_size=0.02, steps=10, loss="cw", stop_at_success=False)

    class TwoClass:
        """Labels and targets as the only two classes, so that the margin is one linear function."""

        classes = 5

        def logits(self, x: Tensor) -> Tensor:
            return linear(x)

        def gradient(
            self, x: Tensor, y: Tensor, loss: object, t: Tensor | None = None, originals: object = None
        ) -> GradientAnswer:
            return GradientAnswer(linear(x), torch.zeros(len(x)), (weight[targets] - weight[y]).view_as(x))

    got = attack(TwoClass(), images, labels, parameters, targets=targets)
    torch.testing.assert_close(got.images, expected)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("random_start", [True, False])
def test_the_budget_and_the_range_are_kept(
    linear: nn.Module, batch: tuple[Tensor, Tensor], norm: str, random_start: bool
) -> None:
    parameters = PGDParameters.model_validate(
        {
            "norm": norm,
            "epsilon": 0.3,
            "step_size": 0.2,
            "steps": 5,
            "random_start": random_start,
            "restarts": 2,
        }
    )
    result = attack(TorchOracle(linear, 5), *batch, parameters)
    reached = result.linf if norm == "linf" else result.l2
    assert reached.max() <= 0.3 + 1e-6
    assert result.images.min() >= 0
    assert result.images.max() <= 1


def test_success_is_what_the_model_says_of_the_returned_images(
    linear: nn.Module, batch: tuple[Tensor, Tensor]
) -> None:
    images, labels = batch
    result = attack(TorchOracle(linear, 5), images, labels, PGDParameters(epsilon=0.02))
    assert torch.equal(result.success, linear(result.images).argmax(1) != labels)
    assert 0 < result.success.sum() <= len(labels)


def test_more_restarts_never_lose_a_success(linear: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    few = attack(TorchOracle(linear, 5), *batch, PGDParameters(epsilon=0.01, steps=2))
    many = attack(TorchOracle(linear, 5), *batch, PGDParameters(epsilon=0.01, steps=2, restarts=5))
    assert bool((many.success | ~few.success).all())


def test_a_targeted_attack_succeeds_only_at_its_target(
    linear: nn.Module, batch: tuple[Tensor, Tensor]
) -> None:
    images, labels = batch
    targets = (labels + 2) % 5
    strong = PGDParameters(epsilon=0.5, step_size=0.1)
    result = attack(TorchOracle(linear, 5), images, labels, strong, targets=targets)
    assert torch.equal(result.success, linear(result.images).argmax(1) == targets)
    assert result.success.float().mean() > 0.9


def test_passes_are_counted_by_image(linear: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    whole = PGDParameters(steps=6, stop_at_success=False, epsilon=0.001)
    result = attack(TorchOracle(linear, 5), *batch, whole)
    changed = int(result.success.sum())
    # The clean images, six gradients, the results, and the successes once more in 8 bits.
    assert result.queries.sum() == 40 * 8 + changed
    assert (result.forwards, result.backwards) == (40 * 8 + changed + TWICE, 40 * 6)


def test_images_that_are_fooled_cost_nothing_more(linear: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    result = attack(TorchOracle(linear, 5), *batch, PGDParameters(steps=6, epsilon=0.5, step_size=0.5))
    wrong = (linear(batch[0]).argmax(1) != batch[1]).numpy()
    assert wrong.any()
    assert (result.queries[wrong] == 1).all(), "what the model gets wrong anyway is not attacked"
    assert (result.queries[~wrong] < 8).all()


def test_fgsm_is_one_signed_step_of_the_whole_budget(linear: nn.Module, batch: tuple[Tensor, Tensor]) -> None:
    images, labels = batch
    result = attack(TorchOracle(linear, 5), images, labels, FGSMParameters(epsilon=0.1))
    leaf = images.clone().requires_grad_()
    nn.functional.cross_entropy(linear(leaf), labels, reduction="sum").backward()
    assert leaf.grad is not None
    torch.testing.assert_close(result.images, (images + 0.1 * leaf.grad.sign()).clamp(0, 1))


def test_a_saturated_model_raises_the_zero_gradient_flag(batch: tuple[Tensor, Tensor]) -> None:
    def saturated(x: Tensor) -> Tensor:
        return torch.cat([x.sum((1, 2, 3))[:, None] * 0 + 200, x[:, 0, 0, :4] * 0], dim=1)

    result = attack(
        TorchOracle(saturated, 5),
        batch[0],
        torch.zeros(40, dtype=torch.int64),
        PGDParameters(),
    )
    assert not result.success.any()
    assert result.flags[0].name == "zero_gradient"


@pytest.mark.parametrize("loss", ["ce", "cw", "dlr"])
def test_an_honest_model_raises_no_flag(linear: nn.Module, batch: tuple[Tensor, Tensor], loss: str) -> None:
    # DLR has no gradient where the label has come third, which is success and no masking.
    parameters = PGDParameters.model_validate({"epsilon": 0.3, "loss": loss, "stop_at_success": False})
    assert attack(TorchOracle(linear, 5), *batch, parameters).flags == []


class NumpyOracle:
    """The linear model in numpy."""

    classes = 5

    def __init__(self, linear: nn.Module) -> None:
        self.inner = TorchOracle(linear, 5)

    def logits(self, images: np.ndarray) -> np.ndarray:
        assert isinstance(images, np.ndarray)
        return self.inner.logits(torch.from_numpy(images)).numpy()

    def gradient(
        self, images: np.ndarray, labels: np.ndarray, loss: Any, targets: Any = None, originals: Any = None
    ) -> GradientAnswer:
        answer = self.inner.gradient(torch.from_numpy(images), torch.from_numpy(labels), loss, targets)
        return GradientAnswer(answer.logits.numpy(), answer.loss.numpy(), answer.gradient.numpy())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_numpy_and_torch_arrays_take_the_same_path_from_the_same_seed(
    linear: nn.Module, batch: tuple[Tensor, Tensor], norm: str
) -> None:
    parameters = PGDParameters.model_validate({"norm": norm, "epsilon": 0.05, "restarts": 2})
    on_torch = attack(TorchOracle(linear, 5), *batch, parameters)
    on_numpy = attack(NumpyOracle(linear), batch[0].numpy(), batch[1].numpy(), parameters)
    np.testing.assert_allclose(on_numpy.images, on_torch.images.numpy(), atol=1e-6)
    assert on_numpy.images.dtype == np.float32
    assert np.array_equal(on_numpy.success, on_torch.success.numpy())


def test_l2_random_starts_fill_the_ball_evenly() -> None:
    centre = np.full((4000, 1, 1, 2), 0.5, dtype=np.float32)
    points = ball("l2", 0.2).random(centre, SeededNoise(0)) - centre
    radius = np.sqrt((points**2).sum((1, 2, 3))) / 0.2
    assert radius.max() <= 1 + 1e-5
    # In two dimensions a quarter of an even ball lies within half its radius.
    assert np.mean(radius < 0.5) == pytest.approx(0.25, abs=0.03)


def test_torch_noise_repeats_with_its_generator() -> None:
    like = torch.zeros(3, 2)
    first = TorchNoise(torch.Generator().manual_seed(1)).uniform(like, -1, 1)
    second = TorchNoise(torch.Generator().manual_seed(1)).uniform(like, -1, 1)
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("field", "value"),
    [("epsilon", -1), ("epsilon", "8/0"), ("steps", 0), ("norm", "l3"), ("loss", "mse"), ("eps", 1)],
)
def test_impossible_parameters_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        PGDParameters.model_validate({field: value})


def test_budgets_are_read_as_fractions() -> None:
    assert PGDParameters.model_validate({"epsilon": "8/255"}).epsilon == 8 / 255


@pytest.mark.parametrize(
    ("parameters", "length"),
    [
        (PGDParameters(), 2 / 255),
        (PGDParameters(norm="l2", epsilon=0.5), 0.125),
        (PGDParameters(epsilon=0.1, steps=5), 0.05),
        (PGDParameters(epsilon=0.1, step_size=0.01), 0.01),
    ],
)
def test_steps_reach_the_balls_surface_unless_their_length_is_given(
    parameters: PGDParameters, length: float
) -> None:
    assert parameters.step_length == pytest.approx(length)
