"""The UNet: shapes, the latent's way in, and the way across."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from holdfast.errors import UsageError
from training.models.unet import UNet


@pytest.mark.parametrize("size", [(32, 32), (28, 28), (9, 13), (8, 8)])
@pytest.mark.parametrize("levels", [1, 3])
def test_what_comes_out_has_the_size_of_what_goes_in(size: tuple[int, int], levels: int) -> None:
    unet = UNet(9, 3, latent=10, width=4, levels=levels)
    assert unet(torch.rand(2, 9, *size), torch.randn(2, 10)).shape == (2, 3, *size)


def test_each_level_down_sees_the_latent_and_each_level_up_what_came_down() -> None:
    width, levels = 4, 3
    unet = UNet(9, 3, latent=10, width=width, levels=levels)
    seen: dict[str, torch.Tensor] = {}
    for name, block in (*unet.down.named_children(), *unet.up.named_children()):
        key = f"{'down' if block in list(unet.down) else 'up'} {name}"
        block.register_forward_hook(
            lambda _, given, out, key=key: seen.update({key: given[0], f"{key} out": out})
        )
    unet(torch.rand(2, 9, 16, 16), torch.randn(2, 10))
    for level in range(levels + 1):
        given = seen[f"down {level}"]
        code = given[:, -width:]
        assert given.shape[2:] == (16 >> level, 16 >> level)
        assert torch.equal(code, code[:, :, :1, :1].expand_as(code)), "the latent is the same everywhere"
        assert torch.equal(code[:, :, 0, 0], seen["down 0"][:, -width:, 0, 0]), "and at every level"
    for step in range(levels):
        beside = seen[f"down {levels - 1 - step} out"]
        assert torch.equal(seen[f"up {step}"][:, -beside.shape[1] :], beside)


def test_another_latent_gives_another_answer_and_every_weight_has_a_gradient() -> None:
    torch.manual_seed(0)
    unet = UNet(3, 1, latent=10, width=4, levels=2)
    images = torch.rand(4, 3, 8, 8)
    first, second = unet(images, torch.randn(4, 10)), unet(images, torch.randn(4, 10))
    assert (first - second).abs().mean() > 1e-2
    first.square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in unet.parameters())


def test_the_widths_double_as_the_image_halves() -> None:
    unet = UNet(9, 3, latent=10)
    convolutions = [module for module in unet.down.modules() if isinstance(module, nn.Conv2d)]
    assert [convolution.out_channels for convolution in convolutions[::2]] == [64, 128, 256, 512]


def test_images_too_small_to_be_halved_so_often_are_refused_with_advice() -> None:
    unet = UNet(9, 3, latent=10, width=4, levels=4)
    with pytest.raises(UsageError, match="8x16 pixels cannot be halved 4 times") as caught:
        unet(torch.rand(2, 9, 8, 16), torch.randn(2, 10))
    assert "fewer levels" in caught.value.hint
