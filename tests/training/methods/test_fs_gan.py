"""FS-GAN against a plain reading of its algorithm."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from support.robustness import accuracy, make_trainer, train
from torch import Tensor
from torch.nn.functional import log_softmax

from holdfast.attacks.noise import TorchNoise
from training import checkpoint
from training.methods.fs_gan import FSGAN, Parameters, mode_seeking, unit_gradient
from training.models import Network, build
from training.transport import MatchingOptions, matching_distance

EPSILON = 0.1
SMALL = {"epsilon": EPSILON, "generator_width": 4, "generator_levels": 2}


@pytest.fixture
def network() -> Network:
    torch.manual_seed(0)
    return build("small-cnn", classes=10, channels=1, size=(8, 8), mean=(0.5,), std=(0.25,))


def make_method(network: Network, **options: Any) -> FSGAN:
    """The method with its generator, whose weights are the same each time."""
    torch.manual_seed(1)
    method = FSGAN(Parameters.model_validate({**SMALL, **options}))
    method.companions(network)
    return method


def noise(seed: int = 3) -> TorchNoise:
    return TorchNoise(torch.Generator().manual_seed(seed))


def batch(images: int = 16) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.rand(images, 1, 8, 8, generator=generator), torch.arange(images) % 10


def distance(clean: Tensor, moved: Tensor) -> Tensor:
    return matching_distance(clean, moved, MatchingOptions())


def listen(method: FSGAN) -> list[tuple[Tensor, Tensor]]:
    """What the generator is given from here on: its images and its latents, call by call."""
    calls: list[tuple[Tensor, Tensor]] = []
    method.generator.network.register_forward_hook(
        lambda _, given, __: calls.append((given[0].detach(), given[1].detach()))
    )
    return calls


def test_the_generator_is_shown_the_perturbation_the_image_the_gradient_and_two_latents(
    network: Network,
) -> None:
    network.eval()
    method = make_method(network)
    images, _ = batch()
    calls = listen(method)
    stream = noise()
    start = (images + stream.uniform(images, -EPSILON, EPSILON)).clamp(0, 1)
    clean = network(images).detach()
    leaf = start.clone().requires_grad_()
    distance(clean, network(leaf)).backward()
    assert leaf.grad is not None
    method.play(network, images, clean, start, stream)
    ((seen, latents),) = calls
    assert latents.shape == (32, 10)
    assert not torch.equal(latents[:16], latents[16:])
    assert torch.equal(seen[:16], seen[16:]), "both latents answer the same question"
    delta, moved, gradient = seen[:16].split(1, dim=1)
    torch.testing.assert_close(delta, (start - images) / EPSILON)
    torch.testing.assert_close(moved, 2 * start - 1)
    scale = leaf.grad.square().mean(dim=(2, 3), keepdim=True).sqrt()
    torch.testing.assert_close(gradient, leaf.grad / scale, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1.0, 1e20])
def test_the_gradient_is_shown_at_one_scale_whatever_its_size(scale: float) -> None:
    gradient = torch.randn(4, 3, 8, 8) * torch.tensor([1.0, 1e-3, 10.0])[:, None, None]
    shown = unit_gradient(gradient * scale)
    torch.testing.assert_close(shown.square().mean((2, 3)), torch.ones(4, 3))
    cosine = torch.nn.functional.cosine_similarity(shown.flatten(2), gradient.flatten(2), dim=-1)
    torch.testing.assert_close(cosine, torch.ones(4, 3))


def test_a_gradient_of_zeros_is_shown_as_zeros() -> None:
    assert torch.equal(unit_gradient(torch.zeros(2, 3, 8, 8)), torch.zeros(2, 3, 8, 8))


def test_the_mode_seeking_loss_is_the_ratio_of_mean_differences() -> None:
    deltas, latents = torch.randn(2, 5, 3, 8, 8), torch.randn(2, 5, 10)
    apart = sum(float((deltas[0, i] - deltas[1, i]).abs().sum()) for i in range(5)) / (5 * 3 * 8 * 8)
    between = sum(float((latents[0, i] - latents[1, i]).abs().sum()) for i in range(5)) / (5 * 10)
    assert float(mode_seeking(deltas, latents)) == pytest.approx(apart / between, rel=1e-5)
    assert torch.isfinite(mode_seeking(deltas, torch.zeros(2, 5, 10)))


@pytest.mark.parametrize("perturbs", ["clean", "previous"])
@pytest.mark.parametrize("steps", [1, 3])
def test_perturbed_images_stay_in_the_ball_and_in_range(
    network: Network, perturbs: str, steps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = make_method(
        network, perturbs=perturbs, steps=steps, trains_on="each", generator_learning_rate=10
    )
    images, labels = batch()
    made: list[Tensor] = []
    play = method.play
    monkeypatch.setattr(method, "play", lambda *given: made.append(play(*given)) or made[-1])
    method.loss(network, images, labels, noise())
    assert len(made) == steps
    for moved in made:
        assert not moved.requires_grad
        assert 0.5 * EPSILON < (moved - images).abs().max() <= EPSILON + 1e-6
        assert moved.min() >= 0
        assert moved.max() <= 1


def test_the_output_is_added_to_the_clean_image_or_to_the_last_one(network: Network) -> None:
    images, _ = batch()
    images = 0.3 + 0.4 * images  # so that [0, 1] cuts nothing
    last, delta = images + 0.08, torch.full_like(images, 0.05)
    clean = make_method(network).apply(images, last, delta)
    previous = make_method(network, perturbs="previous").apply(images, last, delta)
    torch.testing.assert_close(clean, images + 0.05)
    torch.testing.assert_close(previous, images + EPSILON)


@pytest.mark.parametrize("features", ["logits", "probabilities"])
def test_the_generator_ascends_the_distance_and_the_diversity(network: Network, features: str) -> None:
    """One step of plain SGD against autograd of the objective, written out."""
    network.eval()
    method = make_method(
        network, features=features, diversity=0.7, generator_momentum=0, generator_learning_rate=0.01
    )
    images, _ = batch()
    stream = noise()
    start = (images + stream.uniform(images, -EPSILON, EPSILON)).clamp(0, 1)
    latents = noise(3)
    latents.uniform(images, -EPSILON, EPSILON)
    z = latents.normal(images.new_empty(2, 16, 10))

    def of(logits: Tensor) -> Tensor:
        return logits if features == "logits" else logits.softmax(1)

    clean = of(network(images)).detach()
    leaf = start.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(distance(clean, of(network(leaf))), leaf)
    gradient = gradient / gradient.square().mean((2, 3), keepdim=True).sqrt()
    reference = copy.deepcopy(method.generator.network)
    seen = torch.cat([(start - images) / EPSILON, 2 * start - 1, gradient], dim=1)
    first, second = (EPSILON * reference(torch.cat([seen, seen]), z.flatten(0, 1)).tanh()).chunk(2)
    moved = (images + first).clamp(0, 1)
    spread = (first - second).abs().mean() / (z[0] - z[1]).abs().mean()
    (distance(clean, of(network(moved))) + 0.7 * spread).backward()
    found = method.play(network, images, clean, start, stream)
    torch.testing.assert_close(found, moved.detach())
    for after, before in zip(method.generator.network.parameters(), reference.parameters(), strict=True):
        assert before.grad is not None
        torch.testing.assert_close(
            after.detach(), (before + 0.01 * before.grad).detach(), rtol=1e-3, atol=1e-5
        )


def test_the_generators_steps_leave_the_classifier_alone(network: Network) -> None:
    method = make_method(network)
    network.train()
    before = copy.deepcopy(network.state_dict())
    images, _ = batch()
    network.eval()
    method.play(network, images, network(images).detach(), images, noise())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_the_classifier_descends_smoothed_cross_entropy_and_the_distance(network: Network) -> None:
    method = make_method(network, label_smoothing=0.3, distance_weight=2.0)
    reference = copy.deepcopy(network).train()
    images, labels = batch()
    made: list[Tensor] = []
    play = method.play
    method.play = lambda *given: made.append(play(*given)) or made[-1]  # type: ignore[method-assign]
    loss = method.loss(network.train(), images, labels, noise())
    clean, moved = reference(images), reference(made[0])
    targets = torch.full((16, 10), 0.3 / 9)
    targets[torch.arange(16), labels] = 0.7
    expected = -(targets * log_softmax(moved, dim=1)).sum(1).mean() + 2 * distance(clean, moved)
    torch.testing.assert_close(loss, expected)
    (found,) = torch.autograd.grad(loss, network.head.weight)
    (wanted,) = torch.autograd.grad(expected, reference.head.weight)
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-6)
    counts = [value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")]
    assert all(int(count) == 2 for count in counts), "one clean and one perturbed batch in train mode"


def test_without_the_distance_the_clean_images_are_not_run_in_train_mode(network: Network) -> None:
    method = make_method(network, distance_weight=0)
    method.loss(network.train(), *batch(), noise())
    counts = [value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")]
    assert all(int(count) == 1 for count in counts)


def test_the_classifier_learns_from_the_last_batch_or_from_each(network: Network) -> None:
    network.eval()  # so that the losses of the same images are the same
    images, labels = batch()
    losses = {}
    for trains_on in ("last", "each"):
        for steps in (1, 3):
            method = make_method(network, trains_on=trains_on, steps=steps)
            losses[trains_on, steps] = float(method.loss(network, images, labels, noise()).detach())
    assert losses["last", 1] == losses["each", 1]
    assert losses["last", 3] != losses["each", 3]


def play_for(method: FSGAN, network: Network, turns: int) -> tuple[list[float], list[float]]:
    """Let the generator learn against a classifier that stands still: the distance and the diversity."""
    images, _ = batch(32)
    clean = network(images).detach()
    distances, diversities = [], []
    for turn in range(turns):
        stream = noise(turn)
        start = (images + stream.uniform(images, -EPSILON, EPSILON)).clamp(0, 1)
        gradient = method.scattering_gradient(network, clean, start)
        latents = stream.normal(images.new_empty(2, 32, 10))
        with torch.no_grad():
            deltas = method.generate(latents, start - images, start, gradient)
            distances.append(float(distance(clean, network(method.apply(images, start, deltas[0])))))
        diversities.append(float(mode_seeking(deltas, latents)))
        method.play(network, images, clean, start, stream)
    return distances, diversities


def test_the_generator_learns_to_scatter_further(network: Network) -> None:
    network.eval()
    distances, _ = play_for(make_method(network, generator_learning_rate=0.5), network, 40)
    assert sum(distances[-5:]) > 1.5 * sum(distances[:5])


def test_the_mode_seeking_loss_keeps_its_answers_apart(network: Network) -> None:
    network.eval()
    ends = {}
    for weight in (0.0, 5.0):
        method = make_method(network, diversity=weight, generator_learning_rate=0.5)
        _, diversities = play_for(method, network, 40)
        ends[weight] = sum(diversities[-5:]), sum(diversities[:5])
    assert ends[5.0][0] > 1.5 * ends[5.0][1]
    assert ends[5.0][0] > 2 * ends[0.0][0]


def test_a_run_interrupted_and_resumed_ends_with_the_same_networks(tmp_path: Path) -> None:
    def weights(directory: Path) -> dict[str, Tensor]:
        newest = checkpoint.latest(directory)
        assert newest is not None
        return checkpoint.load_file(newest / "state.safetensors")

    overrides = ["epochs=1", "method.generator_width=4"]
    make_trainer(tmp_path / "whole", "fs-gan-digits", overrides).run()
    first = make_trainer(tmp_path / "parts", "fs-gan-digits", overrides)
    first.stop = lambda: first.step == 5
    assert not first.run().finished
    second = make_trainer(tmp_path / "parts", "fs-gan-digits", overrides)
    assert second.resume()
    assert second.run().finished
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert any("generator" in name for name in whole)
    assert whole.keys() == parts.keys()
    assert all(torch.equal(value, parts[name]) for name, value in whole.items())


@pytest.mark.slow
def test_on_digits_it_holds_30_points_better_under_pgd_than_standard_training(tmp_path: Path) -> None:
    standard = accuracy(train(tmp_path / "standard", "fs-digits", ["epochs=10", "method={name: standard}"]))
    scattered = accuracy(train(tmp_path / "scattered", "fs-gan-digits", ["epochs=10"]))
    assert scattered.attacked > standard.attacked + 0.3
    assert scattered.clean > 0.95
