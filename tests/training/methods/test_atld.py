"""ATLD against a plain reading of eqs. 6, 7 and 24, and its three players one by one."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from support.robustness import accuracy, held_out, make_trainer, train
from torch import Tensor, nn

from holdfast.attacks.noise import TorchNoise
from holdfast.errors import UsageError
from training import checkpoint, recipe
from training.checkpoint import load_exported, load_network
from training.methods.atld import ATLD, Parameters, manifold_loss
from training.models import Network, build
from training.models.defended import DefendedNetwork

EPSILON = 0.1
SMALL = {"epsilon": EPSILON, "discriminator": "wrn-10-1"}


def noise(seed: int = 5) -> TorchNoise:
    return TorchNoise(torch.Generator().manual_seed(seed))


def make(**parameters: object) -> tuple[ATLD, Network, Tensor, Tensor]:
    """A method with its discriminator, a network in train mode, and a batch."""
    torch.manual_seed(0)
    network = build("small-cnn", classes=10, channels=1, size=(8, 8), mean=(0.5,), std=(0.25,))
    method = ATLD(Parameters.model_validate({**SMALL, **parameters}))
    method.companions(network)
    return method, network.train(), torch.rand(24, 1, 8, 8), torch.randint(0, 10, (24,))


def smoothed_cross_entropy(logits: Tensor, labels: Tensor, delta: float = 0.5) -> Tensor:
    targets = torch.full_like(logits, delta / (logits.shape[1] - 1))
    targets[torch.arange(len(labels)), labels] = 1 - delta
    return -(targets * (logits.exp() / logits.exp().sum(1, keepdim=True)).log()).sum(1).mean()


def likelihood(clean: Tensor, moved: Tensor) -> Tensor:
    """L_d by probabilities: 1 for what is adversarial, 0 for what is natural."""
    return (1 / (1 + (-moved).exp())).log().mean() + (1 - 1 / (1 + (-clean).exp())).log().mean()


def plain_step(
    method: ATLD, network: Network, images: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """One step of the game written without the method: x_adv, the classifier's loss, and D's new weights."""
    p = method.parameters
    f, d = copy.deepcopy(network), copy.deepcopy(method.discriminator.network)
    joint = p.batch_norm == "joint"

    def latents(x: Tensor) -> Tensor:
        return f.features(x) if p.latent == "features" else f(x)

    start = (images + noise().uniform(images, -EPSILON, EPSILON)).clamp(0, 1)
    leaf = start.clone().requires_grad_()
    f.eval()
    d.train(not joint)
    d(latents(leaf))[0].sigmoid().log().sum().backward()
    assert leaf.grad is not None
    moved = (start + EPSILON * leaf.grad.sign()).clamp(images - EPSILON, images + EPSILON).clamp(0, 1)
    moved = moved.detach().requires_grad_()

    if joint:
        both = f.train().features(torch.cat([images, moved]))
        clean_features, moved_features = both[: len(images)], both[len(images) :]
    else:
        clean_features = f.eval().features(images)
        moved_features = f.train().features(moved)
    clean_logits, moved_logits = f.head(clean_features), f.head(moved_features)
    clean_latents, moved_latents = (
        (clean_features, moved_features) if p.latent == "features" else (clean_logits, moved_logits)
    )

    def judge() -> tuple[Tensor, Tensor, Tensor, Tensor]:
        d.train()
        if not joint:
            (clean, clean_classes), (bad, bad_classes) = d(clean_latents), d(moved_latents)
            return clean, bad, clean_classes, bad_classes
        manifold, classes = d(torch.cat([clean_latents, moved_latents]))
        n = len(images)
        return manifold[:n], manifold[n:], classes[:n], classes[n:]

    momenta = [torch.zeros_like(weight) for weight in d.parameters()]
    for _ in range(p.discriminator_steps):
        clean, bad, clean_classes, bad_classes = judge()
        loss = -likelihood(clean, bad)
        loss = loss + smoothed_cross_entropy(clean_classes, labels)
        loss = loss + smoothed_cross_entropy(bad_classes, labels)
        gradients = torch.autograd.grad(loss, list(d.parameters()), retain_graph=True)
        with torch.no_grad():
            for weight, gradient, momentum in zip(d.parameters(), gradients, momenta, strict=True):
                momentum.mul_(0.9).add_(gradient + 2e-4 * weight)
                weight.sub_(p.discriminator_learning_rate * momentum)
    wrong = smoothed_cross_entropy(moved_logits, labels)
    if p.invariance == "manifold":
        clean, bad, *_ = judge()
        second = likelihood(clean, bad)
    else:
        distance = ((moved_logits - clean_logits.detach()) ** 2).mean()
        (of_wrong,) = torch.autograd.grad(wrong, moved, retain_graph=True)
        (of_distance,) = torch.autograd.grad(distance, moved, retain_graph=True)
        second = distance * (of_wrong.abs().max() / of_distance.abs().max()).detach()
    return moved.detach(), wrong + p.invariance_weight * second, list(d.parameters())


@pytest.mark.parametrize(
    ("invariance", "batch_norm"), [("manifold", "joint"), ("manifold", "apart"), ("logits", "apart")]
)
@pytest.mark.parametrize("latent", ["features", "logits"])
def test_a_step_is_the_game_of_eq_7(latent: str, invariance: str, batch_norm: str) -> None:
    method, network, images, labels = make(
        latent=latent,
        invariance=invariance,
        batch_norm=batch_norm,
        invariance_weight=0.7,
        discriminator_steps=2,
        discriminator_learning_rate=0.1,
    )
    expected_images, expected, weights = plain_step(method, network, images, labels)
    before = copy.deepcopy(method.discriminator.network.state_dict())
    moved = method.perturb(network, images, noise())
    method.discriminator.network.load_state_dict(before)
    # Signs of gradients near zero may differ between two orders of summation.
    assert ((moved - expected_images).abs() < 1e-5).float().mean() > 0.995
    torch.testing.assert_close(method.loss(network, images, labels, noise()), expected, rtol=1e-3, atol=1e-4)
    for found, wanted in zip(method.discriminator.network.parameters(), weights, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_the_manifold_loss_is_binary_cross_entropys_negative() -> None:
    clean, moved = torch.tensor([-3.0, 1.0, 0.5]), torch.tensor([2.0, -1.0, 4.0])
    targets = torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0, 1.0])
    probabilities = torch.cat([clean, moved]).sigmoid()
    torch.testing.assert_close(
        manifold_loss(clean, moved), -2 * nn.functional.binary_cross_entropy(probabilities, targets)
    )
    torch.testing.assert_close(manifold_loss(clean, moved), likelihood(clean, moved))
    nothing = torch.zeros(3)
    torch.testing.assert_close(manifold_loss(nothing, nothing), torch.tensor(-2 * 2.0).mul(0.5 * 0.693147180))


def test_the_discriminator_learns_to_tell_latents_apart_and_to_name_their_classes() -> None:
    method, _, _, labels = make(discriminator_learning_rate=0.05)
    clean = torch.randn(24, 64) + nn.functional.one_hot(labels, 64) * 6
    moved = clean + 0.5 * torch.randn(64)
    losses = []
    for _ in range(80):
        loss = method.discriminator_loss(clean, moved, labels)
        losses.append(loss.item())
        method.discriminator.descend(loss)
    judge = method.discriminator.network.eval()
    (clean_manifold, clean_classes), (moved_manifold, moved_classes) = judge(clean), judge(moved)
    assert losses[-1] < losses[0] - 1
    assert (clean_manifold < 0).float().mean() > 0.9
    assert (moved_manifold > 0).float().mean() > 0.9
    assert (clean_classes.argmax(1) == labels).float().mean() > 0.9
    assert (moved_classes.argmax(1) == labels).float().mean() > 0.9


def test_the_adversarial_images_are_easier_to_tell_from_clean_ones_than_noise_is() -> None:
    method, network, images, _ = make(discriminator="mlp-2-32")
    network.eval()
    judge = method.discriminator.network.eval()
    start = (images + noise().uniform(images, -EPSILON, EPSILON)).clamp(0, 1)
    moved = method.perturb(network, images, noise())
    clean, before, after = (judge(network.features(x))[0] for x in (images, start, moved))
    assert manifold_loss(clean, after) > manifold_loss(clean, before) + 0.01
    assert (after > before).all()


def test_the_classifier_descends_what_the_discriminator_ascends() -> None:
    method, network, images, labels = make(invariance_weight=1e6, random_start=False)
    moved = method.perturb(network, images, noise())
    judge = method.discriminator.network

    def told_apart() -> float:
        # As one batch in train mode, which is what the classifier's loss sees.
        with torch.no_grad():
            manifold, _ = judge(copy.deepcopy(network).features(torch.cat([images, moved])))
            return manifold_loss(*manifold.chunk(2)).item()

    method.discriminator.optimiser.param_groups[0]["lr"] = 0.0
    before = told_apart()
    loss = method.loss(network, images, labels, noise())
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-8)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    assert told_apart() < before - 1e-3


def test_images_start_at_the_image_itself_where_eq_24_is_taken_literally() -> None:
    method, network, images, _ = make(random_start=False)
    leaf = images.clone().requires_grad_()
    network.eval()
    judge = method.discriminator.network.eval()
    manifold = judge(network.features(leaf))[0]
    (gradient,) = torch.autograd.grad(likelihood(torch.zeros(24), manifold), leaf)
    judge.train()
    expected = (images + EPSILON * gradient.sign()).clamp(0, 1)
    torch.testing.assert_close(method.perturb(network, images, noise()), expected)


def test_an_image_is_attacked_alike_whatever_its_batch() -> None:
    method, network, images, _ = make(random_start=False, steps=3, step_size=0.04)
    together = method.perturb(network, images, noise())
    alone = torch.cat([method.perturb(network, image[None], noise()) for image in images])
    assert ((together - alone).abs() < 1e-5).float().mean() > 0.995
    assert (together - images).abs().max() <= EPSILON + 1e-6
    assert together.min() >= 0
    assert together.max() <= 1


def test_only_the_modes_of_the_option_move_running_statistics() -> None:
    counts = {}
    for mode in ("joint", "apart"):
        method, network, images, labels = make(batch_norm=mode)
        method.loss(network, images, labels, noise())
        counts[mode] = [
            next(int(v) for k, v in module.state_dict().items() if k.endswith("num_batches_tracked"))
            for module in (network, method.discriminator.network)
        ]
        assert network.training
        assert method.discriminator.network.training
    # The classifier: one pass in train mode. D: one to learn and one for the classifier's loss, both kinds in
    # one batch; apart, each kind by itself, and the attack besides.
    assert counts == {"joint": [1, 2], "apart": [1, 5]}


def test_every_weight_of_the_classifier_gets_a_gradient_and_the_discriminator_keeps_none() -> None:
    method, network, images, labels = make()
    loss = method.loss(network, images, labels, noise())
    method.discriminator.optimiser.zero_grad()
    loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())
    assert all(p.grad is None for p in method.discriminator.network.parameters())


def test_without_its_second_term_the_loss_is_smoothed_cross_entropy_on_the_adversarial_images() -> None:
    method, network, images, labels = make(invariance_weight=0, batch_norm="apart")
    reference = copy.deepcopy(network)
    before = copy.deepcopy(method.discriminator.network.state_dict())
    moved = method.perturb(network, images, noise())
    method.discriminator.network.load_state_dict(before)
    expected = smoothed_cross_entropy(reference.train()(moved), labels)
    torch.testing.assert_close(method.loss(network, images, labels, noise()), expected)


def test_the_programs_second_term_is_refused_where_its_balance_would_grow_without_end() -> None:
    with pytest.raises(UsageError, match="needs batch_norm=apart"):
        recipe.load("atld-digits", ["method.invariance=logits"])


def test_a_compiled_network_is_refused_where_its_backward_pass_would_be_needed_again() -> None:
    method, network, images, labels = make(invariance="logits", batch_norm="apart")
    network.body.compile()
    with pytest.raises(UsageError, match="compiled") as caught:
        method.loss(network, images, labels, noise())
    assert "compile=false" in caught.value.hint


def test_on_digits_the_classifier_and_the_discriminator_learn_together(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, "atld-digits", ["epochs=3"])
    losses, told_apart = [], []
    method = trainer.method
    assert isinstance(method, ATLD)
    judge = method.discriminator.network
    judge.register_forward_hook(lambda module, _, out: told_apart.append(out[0]) if module.training else None)
    for epoch in range(3):
        for images, labels in trainer.batches.epoch(epoch):
            losses.append(float(trainer.take_step(images, labels)))
    # Of each two judgements in train mode the first is the one that D learns from.
    apart = [float(manifold_loss(*both.detach().chunk(2))) for both in told_apart[::2]]
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])
    assert sum(apart[-10:]) / 10 > -2 * 0.693 + 0.02, "D sees more than chance, though f hides it"
    assert all(value < 0 for value in apart)


def test_the_log_tells_how_often_the_discriminator_is_right(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, "atld-digits", ["epochs=2"])
    assert trainer.method.readings() == {}
    trainer.run()
    method = trainer.method
    assert isinstance(method, ATLD)
    shares = [row["told apart"] for row in trainer.history]
    assert len(shares) == 2
    assert method.readings() == {"told apart": shares[-1]}
    clean, moved = torch.randn(8, 64), torch.randn(8, 64)
    method.discriminator_loss(clean, moved, torch.zeros(8, dtype=torch.long))
    with torch.no_grad():
        manifold, _ = method.discriminator.network(torch.cat([clean, moved]))
    right = int((manifold[:8] < 0).sum()) + int((manifold[8:] > 0).sum())
    assert method.readings() == {"told apart": right / 16}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("atld")
    make_trainer(directory, "atld-digits", ["epochs=2", "averaging.decay=0.9"]).run()
    return directory


def test_the_discriminator_is_exported_with_the_classifier(run: Path) -> None:
    network, info = load_exported(run)
    assert isinstance(network, DefendedNetwork)
    assert not network.training
    assert not network.discriminator.training
    images, _ = held_out(64)
    classifier, same = load_network(run)
    assert info == same
    torch.testing.assert_close(network(images), classifier(images))
    newest = checkpoint.latest(run)
    assert newest is not None
    saved = load_file(newest / "state.safetensors")
    found = network.discriminator.state_dict()
    prefix = "companion.discriminator.average."
    assert all(torch.equal(value, saved[prefix + key]) for key, value in found.items())
    assert any(not torch.equal(v, saved[f"companion.discriminator.network.{k}"]) for k, v in found.items())


def test_a_run_without_averaging_exports_the_discriminator_it_trained(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, "atld-digits", ["epochs=1"])
    trainer.run()
    network, _ = load_exported(tmp_path)
    assert isinstance(network, DefendedNetwork)
    trained = trainer.companions["discriminator"].network.state_dict()
    for key, value in network.discriminator.state_dict().items():
        torch.testing.assert_close(value, trained[key])


def test_a_method_without_companions_exports_its_classifier(tmp_path: Path) -> None:
    make_trainer(tmp_path, "fs-digits", ["epochs=1"]).run()
    network, _ = load_exported(tmp_path)
    assert type(network) is Network


def command(directory: Path) -> list[str]:
    settings = ["epochs=4", "monitor.images=0", "averaging.decay=0.99"]
    overrides = [word for value in settings for word in ("--set", value)]
    rest = ["train", "atld-digits", *overrides, "--run-dir", str(directory), "--device", "cpu"]
    return [sys.executable, "-m", "holdfast", *rest, "--save-every", "1"]


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bits_as_one_that_was_not(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    subprocess.run(command(whole), env=environment, check=True, capture_output=True)
    process = subprocess.Popen(command(parts), env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while checkpoint.latest(parts) is None and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    newest = checkpoint.latest(parts)
    assert newest is not None
    assert not checkpoint.read_info(newest).finished
    subprocess.run(command(parts), env=environment, check=True, capture_output=True)
    tensors = []
    for directory in (whole, parts):
        newest = checkpoint.latest(directory)
        assert newest is not None
        assert checkpoint.read_info(newest).finished
        tensors.append(load_file(newest / "state.safetensors"))
    assert any(key.startswith("companion.discriminator.optimiser.") for key in tensors[0])
    assert tensors[0].keys() == tensors[1].keys()
    assert [key for key, value in tensors[0].items() if not torch.equal(value, tensors[1][key])] == []


@pytest.mark.slow
def test_on_digits_it_holds_30_points_better_under_pgd_than_standard_training(tmp_path: Path) -> None:
    standard = accuracy(train(tmp_path / "standard", "atld-digits", ["epochs=10", "method={name: standard}"]))
    defended = accuracy(train(tmp_path / "defended", "atld-digits", ["epochs=10"]))
    assert defended.attacked > standard.attacked + 0.3
    assert defended.clean > 0.95
