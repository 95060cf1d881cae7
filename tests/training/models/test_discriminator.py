"""ATLD's discriminator: its outputs, and its wide residual network without the kernels' dead weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from holdfast.errors import UsageError
from training.models.discriminator import VectorBlock, VectorWideResNetBody, build_discriminator
from training.models.wide_resnet import WideBlock, WideResNetBody


@pytest.mark.parametrize("architecture", ["wrn-28-5", "wrn-10-1", "mlp-1-8", "mlp-3-16"])
def test_it_gives_one_manifold_logit_and_a_logit_for_each_class(architecture: str) -> None:
    network = build_discriminator(architecture, inputs=12, classes=7)
    manifold, classes = network(torch.randn(5, 12))
    assert manifold.shape == (5,)
    assert classes.shape == (5, 7)


@pytest.mark.parametrize("architecture", ["wrn-28", "wrn-9-1", "wrn-12-1", "wrn-10-0", "mlp-0-8", "cnn", ""])
def test_a_discriminator_that_there_is_not_is_refused_with_its_name(architecture: str) -> None:
    with pytest.raises(UsageError, match="iscriminator"):
        build_discriminator(architecture, inputs=12, classes=7)


def test_its_weights_come_from_torchs_generator() -> None:
    for architecture in ("wrn-10-1", "mlp-1-8"):
        drawn = []
        for seed in (3, 3, 4):
            torch.manual_seed(seed)
            network = build_discriminator(architecture, inputs=6, classes=3)
            drawn.append(torch.cat([weight.flatten() for weight in network.parameters()]))
        assert torch.equal(drawn[0], drawn[1])
        assert not torch.equal(drawn[0], drawn[2])


def copy_block(block: WideBlock, vectors: VectorBlock) -> None:
    for name in ("norm1", "norm2"):
        getattr(vectors, name).load_state_dict(getattr(block, name).state_dict())
    with torch.no_grad():
        vectors.linear1.weight.copy_(block.conv1.weight[:, :, 1, 1])
        vectors.linear2.weight.copy_(block.conv2.weight[:, :, 1, 1])
        if block.shortcut is not None:
            assert vectors.shortcut is not None
            vectors.shortcut.weight.copy_(block.shortcut.weight[:, :, 0, 0])


@pytest.mark.parametrize("training", [True, False])
def test_on_an_image_of_one_pixel_a_wide_resnet_is_the_network_of_vectors(training: bool) -> None:
    torch.manual_seed(0)
    images, vectors = WideResNetBody(16, 2, channels=10), VectorWideResNetBody(16, 2, inputs=10)
    for module in images.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    with torch.no_grad():
        vectors.stem.weight.copy_(images.stem.weight[:, :, 1, 1])
    vectors.norm.load_state_dict(images.norm.state_dict())
    blocks = [block for group in images.groups for block in group]
    for block, other in zip(blocks, vectors.blocks, strict=True):
        copy_block(block, other)
    images.train(training)
    vectors.train(training)
    x = torch.randn(9, 10)
    torch.testing.assert_close(vectors(x), images(x[:, :, None, None]), rtol=1e-4, atol=1e-5)
    assert 8 * count(vectors) < count(images)


def count(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters() if weight.dim() > 1)


def test_its_first_weights_are_as_large_as_the_centres_of_the_kernels() -> None:
    torch.manual_seed(0)
    vectors, images = VectorWideResNetBody(28, 5, inputs=64), WideResNetBody(28, 5, channels=64)
    for layer in images.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    first, last = vectors.blocks[0], vectors.blocks[-1]
    assert isinstance(first, VectorBlock)
    assert isinstance(last, VectorBlock)
    pairs = [
        (first.linear1, images.groups[0][0].conv1),
        (first.shortcut, images.groups[0][0].shortcut),
        (last.linear2, images.groups[2][-1].conv2),
    ]
    for linear, convolution in pairs:
        assert linear is not None
        assert linear.weight.std().item() == pytest.approx(convolution.weight.std().item(), rel=0.1)
