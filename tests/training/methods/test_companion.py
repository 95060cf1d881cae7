"""Networks beside the classifier: they step on their own, and a run resumes with them exactly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from holdfast.attacks.noise import Noise
from training import checkpoint, recipe
from training.checkpoint import CheckpointError, CheckpointInfo
from training.data import load as load_data
from training.distributed import World
from training.methods import Method
from training.methods.companion import Companion
from training.methods.standard import Parameters
from training.models import Network
from training.recipe import Recipe
from training.trainer import Trainer

ALONE = World(0, 1, torch.device("cpu"))


class Guessing(Method[Parameters]):
    """Two networks beside the classifier: a convolution by SGD and a linear layer by Adam, both with BN."""

    Parameters = Parameters

    def companions(self, network: Network) -> dict[str, Companion]:
        judge = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(144, 1))
        guess = nn.Sequential(nn.BatchNorm1d(network.width), nn.Linear(network.width, network.classes))
        self.judge = Companion(
            judge,
            torch.optim.SGD(judge.parameters(), lr=0.01, momentum=0.9),
            scheduled=True,
            clip_norm=0.1,
            exported=True,
        )
        self.guess = Companion(guess, torch.optim.Adam(guess.parameters(), lr=1e-3))
        return {"judge": self.judge, "guess": self.guess}

    def loss(self, network: Network, images: Tensor, labels: Tensor, noise: Noise) -> Tensor:
        noisy = images + noise.uniform(images, -0.1, 0.1)
        self.judge.descend((self.judge.network(images) - self.judge.network(noisy)).square().mean())
        features = network.features(noisy)
        self.guess.descend(cross_entropy(self.guess.network(features.detach()), labels))
        with self.guess.frozen():
            told = cross_entropy(self.guess.network(features), labels)
        return cross_entropy(network.classify(features), labels) + told


class GuessingRecipe(Recipe):
    def make_method(self) -> Method[Any]:
        return Guessing(Parameters())


class Silent:
    def started(self, info: CheckpointInfo, steps_per_epoch: int) -> None:
        pass

    def stepped(self, step: int, loss: float, learning_rate: float, images_per_second: float) -> None:
        pass

    def epoch_ended(self, epoch: int, step: int, measured: dict[str, float]) -> None:
        pass

    def saved(self, path: Path) -> None:
        pass


def make_trainer(
    directory: Path, *overrides: str, stop: Callable[[], bool] = lambda: False, guessing: bool = True
) -> Trainer:
    settings = ["method={name: standard}", "epochs=2", "averaging.decay=0.99", "monitor.images=0", *overrides]
    plan = recipe.load("pgd-at-digits", settings)
    if guessing:
        plan = GuessingRecipe.model_validate(plan.model_dump(mode="json"))
    return Trainer(plan, load_data("digits"), directory, ALONE, Silent(), stop=stop)


def newest(directory: Path) -> Path:
    found = checkpoint.latest(directory)
    assert found is not None
    return found


def tensors(directory: Path) -> dict[str, Tensor]:
    return load_file(newest(directory) / "state.safetensors")


@pytest.mark.parametrize("overrides", [[], ["channels_last=true"]])
@pytest.mark.parametrize("interrupted_after", [1, 30])
def test_a_run_with_companions_resumes_bit_identically(
    tmp_path: Path, interrupted_after: int, overrides: list[str]
) -> None:
    make_trainer(tmp_path / "whole", *overrides).run()
    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps == interrupted_after

    assert not make_trainer(tmp_path / "parts", *overrides, stop=stop).run().finished
    second = make_trainer(tmp_path / "parts", *overrides)
    assert second.resume()
    assert second.run().finished
    expected, found = tensors(tmp_path / "whole"), tensors(tmp_path / "parts")
    assert expected.keys() == found.keys()
    assert [key for key in expected if not torch.equal(expected[key], found[key])] == []
    assert {
        "companion.judge.network.0.weight",
        "companion.judge.optimiser.0.weight.momentum_buffer",
        "companion.judge.average.1.running_mean",
        "companion.guess.optimiser.1.bias.exp_avg_sq",
        "companion.guess.optimiser.1.bias.step",
    } <= expected.keys()
    assert not any(key.startswith("companion.guess.average") for key in expected), "it is not exported"


def test_the_average_of_an_exported_companion_follows_it(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, "averaging.decay=0.5")
    judge = trainer.companions["judge"]
    assert judge.average is not None
    mean = {key: value.clone() for key, value in judge.network.state_dict().items()}
    batches = trainer.batches.epoch(0)
    for step in range(1, 4):
        trainer.take_step(*next(batches))
        decay = min(0.5, (1 + step) / (10 + step))
        for key, value in judge.network.state_dict().items():
            mean[key] = decay * mean[key] + (1 - decay) * value if value.is_floating_point() else value
    for key, value in judge.average.network.state_dict().items():
        torch.testing.assert_close(value, mean[key])


def test_a_scheduled_companion_follows_the_recipes_schedule_and_another_does_not(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, "schedule={kind: step, milestones: [1], factor: 0.1}")
    batch = next(trainer.batches.epoch(0))
    trainer.take_step(*batch)
    rates = {name: c.optimiser.param_groups[0]["lr"] for name, c in trainer.companions.items()}
    assert rates == {"judge": 0.01, "guess": 1e-3}
    trainer.step = len(trainer.batches)
    trainer.take_step(*batch)
    rates = {name: c.optimiser.param_groups[0]["lr"] for name, c in trainer.companions.items()}
    assert rates == pytest.approx({"judge": 0.001, "guess": 1e-3})


def test_a_run_without_companions_saves_what_it_always_did(tmp_path: Path) -> None:
    make_trainer(tmp_path, guessing=False, stop=lambda: True).run()
    assert not any(key.startswith("companion.") for key in tensors(tmp_path))
    assert make_trainer(tmp_path, guessing=False).resume()


def test_a_checkpoint_that_lacks_a_companion_is_refused_with_its_name(tmp_path: Path) -> None:
    make_trainer(tmp_path, stop=lambda: True).run()
    state = newest(tmp_path) / "state.safetensors"
    save_file(
        {k: v for k, v in load_file(state).items() if not k.startswith("companion.judge.network.0")}, state
    )
    with pytest.raises(CheckpointError, match=r"of another network.*0\.weight"):
        make_trainer(tmp_path).resume()


def plain(clip_norm: float | None = None) -> Companion:
    torch.manual_seed(0)
    network = nn.Linear(3, 1)
    return Companion(network, torch.optim.SGD(network.parameters(), lr=0.1), clip_norm=clip_norm)


def test_descending_is_a_step_against_the_gradient_of_the_companions_weights_alone() -> None:
    companion, other, images = plain(), nn.Linear(3, 3), torch.randn(5, 3)
    before = [weight.detach().clone() for weight in companion.network.parameters()]
    loss = companion.network(other(images)).square().mean()
    gradients = torch.autograd.grad(loss, list(companion.network.parameters()), retain_graph=True)
    companion.descend(loss)
    for weight, old, gradient in zip(companion.network.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(weight.detach(), old - 0.1 * gradient)
    assert all(weight.grad is None for weight in other.parameters())


def test_a_gradient_that_is_too_long_is_clipped() -> None:
    companion = plain(clip_norm=0.5)
    before = nn.utils.parameters_to_vector(companion.network.parameters()).detach().clone()
    companion.descend(100 * companion.network(torch.ones(5, 3)).mean())
    after = nn.utils.parameters_to_vector(companion.network.parameters()).detach()
    assert (after - before).norm().item() == pytest.approx(0.1 * 0.5, rel=1e-4)


def test_a_frozen_companion_passes_gradients_through_and_takes_none() -> None:
    companion, images = plain(), torch.randn(5, 3, requires_grad=True)
    with companion.frozen():
        loss = companion.network(images).sum()
    loss.backward()
    assert images.grad is not None
    assert all(weight.grad is None and weight.requires_grad for weight in companion.network.parameters())


def descend_on_two(rank: int, size: int, directory: str) -> None:
    """One process of two: descend on half of a batch, and write down what the companion is then."""
    torch.distributed.init_process_group("gloo", f"file://{directory}/store", rank=rank, world_size=size)
    torch.manual_seed(rank)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    companion = Companion(
        network, torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9), clip_norm=0.05
    )
    world = World(rank, size, torch.device("cpu"))
    companion.join(world)
    world.copy_from_leader(network)
    for step in range(3):
        companion.descend(network(halves(step)[rank]).square().mean())
    save_file(companion.state(), Path(directory) / f"{rank}.safetensors")
    torch.distributed.destroy_process_group()


def halves(step: int) -> tuple[Tensor, ...]:
    return torch.randn(8, 3, generator=torch.Generator().manual_seed(step)).chunk(2)


def test_a_companion_is_the_same_on_all_processes_and_descends_their_mean_gradient(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(descend_on_two, (2, str(tmp_path)), nprocs=2)
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    assert [key for key in first if not torch.equal(first[key], second[key])] == []
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    for step in range(3):
        optimiser.zero_grad()
        # Each half under its own batch statistics, as on two processes.
        torch.stack([network(half).square().mean() for half in halves(step)]).mean().backward()
        nn.utils.clip_grad_norm_(network.parameters(), 0.05)
        optimiser.step()
    for key, value in network.named_parameters():
        torch.testing.assert_close(first[f"network.{key}"], value.detach())
