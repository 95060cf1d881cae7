"""Small networks with weights that nothing cancels out in, for tests of what is computed from networks."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from holdfast.manifest import Architecture, Dataset, InputSpec, ThreatModel, TrainingRun
from training.export import Facts
from training.models import Network, Normalise, build


def randomise(network: nn.Module, seed: int = 0) -> None:
    """Draw weights, and batch norm's statistics, so that no scale is 1 and no offset 0."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            if module.track_running_stats:
                module.running_mean = torch.randn(module.num_features, generator=generator) * 0.2
                module.running_var = torch.rand(module.num_features, generator=generator) + 0.5
            if module.affine:
                module.weight.data = torch.rand(module.num_features, generator=generator) + 0.5
                module.bias.data = torch.randn(module.num_features, generator=generator) * 0.2
        elif isinstance(module, nn.Conv2d | nn.Linear | nn.ConvTranspose2d):
            fan = module.weight[0].numel()
            module.weight.data = torch.randn(module.weight.shape, generator=generator) * (2 / fan) ** 0.5
            if module.bias is not None:
                module.bias.data = torch.randn(module.bias.shape, generator=generator) * 0.1


def make_network(
    architecture: str,
    *,
    channels: int = 3,
    size: tuple[int, int] = (8, 8),
    classes: int = 10,
    seed: int = 0,
    **arguments: object,
) -> Network:
    """A network of training.models in eval mode, its parameters frozen, its weights drawn from ``seed``."""
    mean, std = [0.45, 0.5, 0.4][:channels], [0.25, 0.3, 0.2][:channels]
    network = build(
        architecture, classes=classes, channels=channels, size=size, mean=mean, std=std, **arguments
    )
    randomise(network, seed)
    network.requires_grad_(False)
    return network.eval()


def random_images(count: int, shape: tuple[int, int, int], seed: int = 0) -> np.ndarray:
    """Images float32 (count, *shape) in [0, 1]."""
    return np.random.default_rng(seed).random((count, *shape), dtype=np.float32)


class Sum(nn.Module):
    """Two branches of the same input, added."""

    def __init__(self, one: nn.Module, other: nn.Module) -> None:
        super().__init__()
        self.one, self.other = one, other

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.one(x) + self.other(x)
        return out


class Mean(nn.Module):
    """The mean over all pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def assemble(body: nn.Module, shape: tuple[int, int, int], classes: int = 4, seed: int = 0) -> Network:
    """A network around a body that turns images of ``shape`` into vectors."""
    body.eval()
    with torch.no_grad():
        width = body(torch.zeros(1, *shape)).shape[1]
    network = Network(Normalise([0.4] * shape[0], [0.3] * shape[0]), body, width, classes)
    randomise(network, seed)
    network.requires_grad_(False)
    return network.eval()


@st.composite
def bodies(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, int, int]]:
    """A random body, and the shape of the images that it takes."""
    channels = draw(st.sampled_from([1, 3]))
    shape = (channels, draw(st.integers(6, 13)), draw(st.integers(6, 13)))
    image = torch.zeros(1, *shape)
    layers: list[nn.Module] = []
    for _ in range(draw(st.integers(1, 4))):
        layer = draw(_layers(image.shape[1]))
        try:
            with torch.no_grad():
                image = layer.eval()(image)
        except RuntimeError:
            break  # the image is too small for one more
        layers.append(layer)
    layers += draw(st.sampled_from([[Mean()], [nn.Flatten()], [nn.AdaptiveAvgPool2d(1), nn.Flatten()]]))
    return nn.Sequential(*layers), shape


@st.composite
def _layers(draw: st.DrawFn, channels: int) -> nn.Module:
    kind = draw(st.sampled_from(["conv", "conv", "conv", "residual", "pool", "mean pool"]))
    if kind == "pool":
        kernel, stride = draw(st.sampled_from([(2, 2), (3, 3), (3, 2), (2, 1)]))
        return nn.MaxPool2d(kernel, stride, padding=draw(st.integers(0, kernel // 2)))
    if kind == "mean pool":
        kernel, stride = draw(st.sampled_from([(2, 2), (3, 2), (3, 1)]))
        return nn.AvgPool2d(kernel, stride, padding=draw(st.integers(0, 1)))
    outputs = draw(st.sampled_from([4, 6, 16]))
    if kind == "residual":
        stride = draw(st.integers(1, 2))
        main = nn.Conv2d(channels, outputs, 3, stride, 1, bias=False)
        shortcut = nn.Conv2d(channels, outputs, 1, stride, bias=False)
        return nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU(), Sum(main, shortcut))
    kernel = draw(st.sampled_from([1, 3, 5]))
    convolution = nn.Conv2d(
        channels,
        outputs,
        kernel,
        stride=draw(st.integers(1, 3)),
        padding=draw(st.integers(0, kernel)),
        dilation=draw(st.integers(1, 2)),
        bias=draw(st.booleans()),
    )
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs, affine=draw(st.booleans())), nn.ReLU())


def make_facts(network: Network, shape: tuple[int, int, int], architecture: str = "small-cnn") -> Facts:
    """What a manifest says of a network that was never trained."""
    channels, height, width = shape
    return Facts(
        method="standard",
        recipe={"name": "drawn", "method": {"name": "standard"}},
        dataset=Dataset(name="noise", train_images=0),
        classes=[f"class {i}" for i in range(network.classes)],
        input=InputSpec.model_validate({"channels": channels, "height": height, "width": width}),
        architecture=Architecture(name=architecture, parameters=sum(p.numel() for p in network.parameters())),
        threat_model=ThreatModel(norm="linf", epsilon=8 / 255),
        training=TrainingRun(epochs=0, steps=0, seed=0, hardware="none", seconds=0.0),
    )
