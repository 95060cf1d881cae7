"""Attacks that know the defence: through IMT and IMT+, and on MAT's training loss, on torch and on ONNX."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support.defended import EPSILON, last_digits

from holdfast.attacks import AdaptiveLoss, Loss, PGDParameters, attack
from holdfast.attacks.onnx_defended import CentredOnnxOracle, TransformedOnnxOracle, open_oracle
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.attacks.oracle import UnsupportedLossError
from holdfast.attacks.torch_defended import CentredOracle, TransformedOracle
from holdfast.attacks.torch_oracle import TorchOracle
from holdfast.bundle import Bundle
from holdfast.errors import UsageError
from training.models import Network
from training.models.defended import DefendedNetwork
from training.rebuild import rebuild

HALVED = (0.3, 0.7)
STEPS = {"epsilon": 0.2, "step_size": 0.04, "steps": 10}


@pytest.fixture(scope="module")
def judged(defended_store: Path) -> tuple[DefendedNetwork, Bundle]:
    bundle = Bundle.open(defended_store / "judged" / "1")
    network = rebuild(bundle).requires_grad_(False)
    assert isinstance(network, DefendedNetwork)
    return network, bundle


@pytest.fixture(scope="module")
def centred(defended_store: Path) -> tuple[Network, Bundle]:
    bundle = Bundle.open(defended_store / "centred" / "1")
    return rebuild(bundle).requires_grad_(False), bundle


def centres(network: Network) -> torch.Tensor:
    found: torch.Tensor = network.head.centres  # type: ignore[assignment]
    return found


@pytest.mark.parametrize("defence", ["imt", "imt+"])
@pytest.mark.parametrize("loss", [Loss.CROSS_ENTROPY, Loss.MARGIN, AdaptiveLoss.MANIFOLD])
def test_both_oracles_go_through_the_same_transformation(
    judged: tuple[DefendedNetwork, Bundle], defence: str, loss: Loss | AdaptiveLoss
) -> None:
    network, bundle = judged
    images, labels = last_digits(40)
    halved = HALVED if defence == "imt+" else None
    on_torch = TransformedOracle(network, epsilon=EPSILON, halved=halved)
    on_onnx = open_oracle(bundle, defence, threads=1)  # type: ignore[arg-type]
    assert isinstance(on_onnx, TransformedOnnxOracle)
    first = on_torch.gradient(torch.from_numpy(images), torch.from_numpy(labels), loss)
    second = on_onnx.gradient(images, labels, loss)
    size = first.gradient.abs().amax((1, 2, 3)).numpy() + 1e-12
    difference = np.abs(first.gradient.numpy() - second.gradient).max((1, 2, 3)) / size
    # A toss-up in one sign moves one pixel, and with it the point at which the gradient is taken.
    assert np.median(difference) < 1e-3
    assert np.median(np.abs(first.logits.numpy() - second.logits)) < 1e-4
    assert np.median(np.abs(first.loss.numpy() - second.loss)) < 1e-3


def test_an_attack_through_the_transformation_beats_one_that_does_not_know_it(
    judged: tuple[DefendedNetwork, Bundle],
) -> None:
    _, bundle = judged
    images, labels = last_digits(100)
    parameters = PGDParameters.model_validate(STEPS)
    defended, static = open_oracle(bundle, "imt", threads=1), open_oracle(bundle, threads=1)
    oblivious = attack(defended, images, labels, parameters, source=static)
    adaptive = attack(defended, images, labels, parameters)
    assert adaptive.success.sum() > oblivious.success.sum() + 5
    assert [flag.name for flag in adaptive.flags][:1] == ["dynamic"]
    assert not any(flag.name == "dynamic" for flag in attack(static, images, labels, parameters).flags)


def test_the_joint_attack_also_looks_natural(judged: tuple[DefendedNetwork, Bundle]) -> None:
    network, bundle = judged
    images, labels = last_digits(60)
    oracle = open_oracle(bundle, "imt+", threads=1)
    whole = STEPS | {"stop_at_success": False}
    plain = attack(oracle, images, labels, PGDParameters.model_validate(whole))
    joint = attack(oracle, images, labels, PGDParameters.model_validate(whole | {"loss": "ce+manifold"}))
    before, after = (
        network.manifold_logit(torch.from_numpy(found.images)).mean().item() for found in (plain, joint)
    )
    assert after < before - 0.5
    # A step of the one asks for two gradients, of which the manifold's comes with logits of its own.
    assert joint.forwards > 2 * plain.forwards


@pytest.mark.parametrize("through", ["bpda", "end-to-end"])
def test_every_way_through_gives_the_same_forward_pass(
    judged: tuple[DefendedNetwork, Bundle], through: str
) -> None:
    network, _ = judged
    images, labels = (torch.from_numpy(array) for array in last_digits(30))
    oracle = TransformedOracle(network, epsilon=EPSILON, through=through)  # type: ignore[arg-type]
    answer = oracle.gradient(images, labels, Loss.CROSS_ENTROPY)
    torch.testing.assert_close(answer.logits, oracle.logits(images), atol=1e-5, rtol=1e-4)
    assert answer.gradient.isfinite().all()
    result = attack(oracle, images, labels, PGDParameters.model_validate(STEPS))
    assert result.success.float().mean() > 0.3


def test_end_to_end_differentiates_the_step_and_bpda_does_not(
    judged: tuple[DefendedNetwork, Bundle],
) -> None:
    network, _ = judged
    images, labels = (torch.from_numpy(array) for array in last_digits(10))
    plain, whole = (
        TransformedOracle(network, epsilon=EPSILON, through=through).gradient(  # type: ignore[arg-type]
            images, labels, Loss.CROSS_ENTROPY
        )
        for through in ("bpda", "end-to-end")
    )
    at_moved = TorchOracle(network, 10)
    from holdfast.manifold import transform

    moved = transform(network.manifold_logit, images, epsilon=EPSILON).images
    expected = at_moved.gradient(moved, labels, Loss.CROSS_ENTROPY).gradient
    torch.testing.assert_close(plain.gradient, expected)
    assert not torch.allclose(whole.gradient, plain.gradient, rtol=0.1)


@pytest.mark.parametrize("loss", [AdaptiveLoss.FTC, AdaptiveLoss.SO, AdaptiveLoss.BIBO])
def test_the_losses_of_class_centres_are_the_same_on_both_oracles(
    centred: tuple[Network, Bundle], loss: AdaptiveLoss
) -> None:
    network, bundle = centred
    images, labels = last_digits(40)
    moved = np.clip(images + np.random.default_rng(0).normal(0, 0.05, images.shape), 0, 1).astype(np.float32)
    on_onnx = open_oracle(bundle, threads=1)
    assert isinstance(on_onnx, CentredOnnxOracle)
    on_torch = CentredOracle(network, centres(network))
    tensors = [torch.from_numpy(array) for array in (moved, labels, images)]
    first = on_torch.gradient(tensors[0], tensors[1], loss, None, tensors[2])
    second = on_onnx.gradient(moved, labels, loss, None, images)
    np.testing.assert_allclose(first.loss.numpy(), second.loss, atol=1e-5, rtol=1e-3)
    np.testing.assert_allclose(first.logits.numpy(), second.logits, atol=1e-4)
    size = first.gradient.abs().amax((1, 2, 3)).numpy() + 1e-12
    assert np.median(np.abs(first.gradient.numpy() - second.gradient).max((1, 2, 3)) / size) < 1e-3


def test_mats_own_loss_breaks_more_than_cross_entropy_of_cosines(centred: tuple[Network, Bundle]) -> None:
    _, bundle = centred
    images, labels = last_digits(80)
    oracle = open_oracle(bundle, threads=1)
    on_scores, adaptive = (
        attack(oracle, images, labels, PGDParameters.model_validate(STEPS | {"loss": loss}))
        for loss in ("ce", "ftc+0.1*so+bibo")
    )
    assert adaptive.success.mean() >= on_scores.success.mean() - 0.02
    assert adaptive.success.mean() > 0.5


def test_losses_that_a_model_has_not_got_are_refused_by_name(
    judged: tuple[DefendedNetwork, Bundle], centred: tuple[Network, Bundle]
) -> None:
    images, labels = last_digits(3)
    cases = [
        (open_oracle(judged[1], threads=1), "manifold"),  # only behind a transformation
        (open_oracle(judged[1], "imt", threads=1), "so"),
        (open_oracle(centred[1], threads=1), "manifold"),
    ]
    for oracle, loss in cases:
        with pytest.raises(UnsupportedLossError, match=loss):
            attack(oracle, images, labels, PGDParameters(loss=loss))


def test_a_defence_that_is_not_offered_is_refused_with_those_that_are(
    centred: tuple[Network, Bundle], judged: tuple[DefendedNetwork, Bundle]
) -> None:
    with pytest.raises(UsageError) as caught:
        open_oracle(centred[1], "imt")
    assert "none" in caught.value.hint
    assert type(open_oracle(judged[1], threads=1)) is OnnxOracle


def test_defended_bundles_are_attacked_without_torch(judged: tuple[DefendedNetwork, Bundle]) -> None:
    program = f"""
import sys
sys.modules["torch"] = None
import numpy as np
from holdfast.attacks import PGDParameters, attack
from holdfast.attacks.onnx_defended import open_oracle
from holdfast.bundle import Bundle
oracle = open_oracle(Bundle.open({str(Path(judged[1].root))!r}), "imt+", threads=1)
images = np.random.default_rng(0).random((4, 1, 8, 8), dtype=np.float32)
labels = oracle.logits(images).argmax(1)
print(int(attack(oracle, images, labels, PGDParameters(epsilon=0.5, loss="ce+manifold")).success.sum()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert int(done.stdout) >= 3
