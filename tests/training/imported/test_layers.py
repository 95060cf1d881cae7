"""Layers that other people's networks have, each as a graph that gives the gradient of eager torch."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from training.export.trace import trace_gradient
from training.imported import ImportedNetwork, Preprocessing


class Layer(nn.Module):
    """A function of images and some layers, and a linear classifier of what it gives."""

    def __init__(self, function: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.function, self.layers = function, nn.ModuleList(layers)
        with torch.no_grad():
            width = function(torch.zeros(2, 4, 6, 6), *self.layers.eval()).flatten(1).shape[1]
        self.head = nn.Linear(width, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x, x[:, :1]], 1)
        out: Tensor = self.head(self.function(x, *self.layers).flatten(1))
        return out


def written_into(x: Tensor) -> Tensor:
    """Into a view, as ConvNeXt does."""
    result = torch.ones(4, 1, 1) * x.permute(0, 2, 3, 1).mul(2).permute(0, 3, 1, 2)
    result += x
    return result


def channels_last(x: Tensor, norm: nn.Module, pool: nn.Module) -> Tensor:
    """A pool behind a layer norm, which leaves the channels last in memory."""
    pooled: Tensor = pool(norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
    return pooled


def attended(x: Tensor, attention: nn.MultiheadAttention) -> Tensor:
    """Each pixel looks at all others."""
    tokens = x.flatten(2).transpose(1, 2)
    found: Tensor = attention(tokens, tokens, tokens, need_weights=False)[0]
    return found


LAYERS: dict[str, nn.Module] = {
    "group norm": Layer(lambda x, m: m(x), nn.GroupNorm(2, 4)),
    "instance norm": Layer(lambda x, m: m(x), nn.InstanceNorm2d(4, affine=True)),
    "channels last": Layer(channels_last, nn.LayerNorm(4), nn.AdaptiveAvgPool2d(1)),
    "attention": Layer(attended, nn.MultiheadAttention(4, 2, batch_first=True)),
    "written into": Layer(written_into),
    "hard swish": Layer(lambda x, m: m(x), nn.Hardswish()),
    "depthwise, strided": Layer(lambda x, m: m(x), nn.Conv2d(4, 8, 3, stride=2, padding=1, groups=4)),
    "gelu": Layer(lambda x, m: m(x), nn.GELU()),
    "upsampled": Layer(lambda x, m: m(x), nn.Upsample(scale_factor=2)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_has_the_gradient_of_eager_torch_in_batches_of_any_size(name: str) -> None:
    torch.manual_seed(5)
    module = LAYERS[name].eval()
    network = ImportedNetwork(module, Preprocessing((0.4,) * 3, (0.3,) * 3), 3).eval().requires_grad_(False)
    program = trace_gradient(network, (3, 6, 6)).module()
    for count in (1, 2, 5):
        images, slope = torch.rand(count, 3, 6, 6), torch.randn(count, 3)
        leaf = images.clone().requires_grad_()
        expected = network(leaf)
        (gradient,) = torch.autograd.grad(expected, leaf, slope)
        found = program(images, slope)
        torch.testing.assert_close(found[0], expected.detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(found[1], gradient, rtol=1e-3, atol=1e-5)
