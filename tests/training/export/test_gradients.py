"""The traced gradient is autograd's, whatever the network is made of."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from support.networks import Mean, Sum, assemble, bodies, random_images
from torch import Tensor, nn

from training.errors import ExportError
from training.export.graph import to_onnx
from training.export.trace import example_images, graph_of, trace
from training.export.weights import write_graph, write_weights
from training.models import Network

Function = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def _forward_and_backward(network: Network) -> Function:
    def function(images: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
        logits, backward = torch.func.vjp(network, images)[:2]
        return logits, backward(slope)[0]

    return function


def _expected(network: Network, images: Tensor, slope: Tensor) -> Tensor:
    leaf = images.clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(network(leaf), leaf, slope)
    return gradient


def _assert_close(found: Tensor, expected: Tensor) -> None:
    largest = expected.abs().max().clamp(min=1e-6)
    torch.testing.assert_close(found / largest, expected / largest, rtol=0, atol=2e-5)


def _inputs(shape: tuple[int, int, int], batch: int, classes: int = 4) -> tuple[Tensor, Tensor]:
    images = torch.from_numpy(random_images(batch, shape))
    return images, torch.from_numpy(random_images(batch, (1, 1, classes), seed=1)).view(batch, classes) - 0.5


@settings(max_examples=20, deadline=None)
@given(bodies())
def test_the_traced_gradient_of_a_random_network_is_autograds(
    drawn: tuple[nn.Module, tuple[int, int, int]],
) -> None:
    body, shape = drawn
    network = assemble(body, shape)
    images = example_images(shape)
    graph = graph_of(_forward_and_backward(network), [images, torch.zeros(len(images), 4)])
    for batch in (1, 5):
        inputs = _inputs(shape, batch)
        logits, gradient = graph(*inputs)
        torch.testing.assert_close(logits, network(inputs[0]))
        _assert_close(gradient, _expected(network, *inputs))


def _conv(inputs: int, outputs: int, *rest: object, **more: object) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, *rest, **more), nn.BatchNorm2d(outputs), nn.ReLU()]  # type: ignore[arg-type]


_BODIES: dict[str, tuple[list[nn.Module], tuple[int, int, int]]] = {
    "strides of 2 on odd sizes": ([*_conv(3, 16, 3, 2, 1), *_conv(16, 16, 5, 2, 2), Mean()], (3, 11, 13)),
    "a stride of 3 without padding": ([*_conv(1, 16, 5, 3), nn.Flatten()], (1, 12, 10)),
    "padding beyond the kernel": ([*_conv(3, 4, 1, 1, 1), *_conv(4, 4, 1, 2, 1), nn.Flatten()], (3, 6, 7)),
    "dilation": ([*_conv(3, 6, 3, 1, 2, dilation=2), *_conv(6, 4, 3, 2, 1, dilation=2), Mean()], (3, 9, 9)),
    "groups": ([*_conv(3, 6, 3, 2, 1, groups=3), *_conv(6, 4, 3, 1, 1, groups=2), nn.Flatten()], (3, 9, 9)),
    "a strided shortcut": (
        [*_conv(3, 16, 3, 1, 1), Sum(nn.Conv2d(16, 32, 3, 2, 1), nn.Conv2d(16, 32, 1, 2)), nn.ReLU(), Mean()],
        (3, 9, 10),
    ),
    "tiled max pooling with a rest": (
        [*_conv(1, 16, 3, 1, 1), nn.MaxPool2d(2), nn.MaxPool2d(3), nn.Flatten()],
        (1, 13, 15),
    ),
    "overlapping max pooling": (
        [*_conv(3, 4, 3, 1, 1), nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2, 1), nn.Flatten()],
        (3, 9, 8),
    ),
    "average pooling": (
        [*_conv(3, 16, 3, 1, 1), nn.AvgPool2d(2), nn.AvgPool2d(3, 2, 1), nn.AvgPool2d(2, 1), nn.Flatten()],
        (3, 13, 12),
    ),
    "adaptive average pooling": ([*_conv(3, 4, 3), nn.AdaptiveAvgPool2d((3, 2)), nn.Flatten()], (3, 8, 6)),
    "a transposed convolution": (
        [nn.ConvTranspose2d(3, 4, 3, 2, 1, output_padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()],
        (3, 5, 4),
    ),
    "other activations": (
        [nn.Conv2d(3, 4, 3), nn.SiLU(), nn.LeakyReLU(0.1), nn.GELU(), nn.Tanh(), nn.ReLU6(), Mean()],
        (3, 6, 6),
    ),
}


@pytest.mark.parametrize("name", _BODIES)
def test_the_gradient_on_onnx_runtime_is_autograds(name: str, tmp_path: Path) -> None:
    layers, shape = _BODIES[name]
    network = assemble(nn.Sequential(*layers), shape)
    session = _session(network, shape, tmp_path)
    for batch in (1, 2, 5):
        images, slope = _inputs(shape, batch)
        logits, gradient = session.run(None, {"images": images.numpy(), "slope": slope.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), network(images), rtol=1e-4, atol=1e-5)
        _assert_close(torch.from_numpy(gradient), _expected(network, images, slope))


def _session(network: Network, shape: tuple[int, int, int], directory: Path) -> ort.InferenceSession:
    images = example_images(shape)
    program = trace(_forward_and_backward(network), [images, torch.zeros(len(images), 4)], network)
    model = to_onnx(program, name="test", inputs=["images", "slope"], outputs=["logits", "gradient"])
    write_weights(network, directory / "model.safetensors")
    write_graph(model, directory / "test.onnx", directory / "model.safetensors")
    return ort.InferenceSession(directory / "test.onnx", providers=["CPUExecutionProvider"])


def test_relus_derivative_at_zero_is_zero_and_pools_give_a_tie_to_the_first_pixel(tmp_path: Path) -> None:
    shape = (1, 4, 4)
    network = assemble(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()), shape)
    session = _session(network, shape, tmp_path)
    # Normalisation takes 0.4 to exactly 0; the two lower windows hold a tie each.
    images = torch.full((1, *shape), 0.4)
    images[0, 0, 2:] = 0.7
    slope = torch.tensor([[0.5, -1.0, 2.0, 0.25]])
    (gradient,) = session.run(["gradient"], {"images": images.numpy(), "slope": slope.numpy()})
    _assert_close(torch.from_numpy(gradient), _expected(network, images, slope))
    assert np.count_nonzero(gradient) == 2
    assert gradient[0, 0, 2, 0] != 0
    assert gradient[0, 0, 2, 2] != 0


def test_the_images_of_a_batch_do_not_influence_each_other(tmp_path: Path) -> None:
    shape = (3, 9, 9)
    network = assemble(nn.Sequential(*_conv(3, 16, 3, 2, 1), nn.MaxPool2d(2), nn.Flatten()), shape)
    session = _session(network, shape, tmp_path)
    images, slope = (part.numpy() for part in _inputs(shape, 6))
    together = session.run(None, {"images": images, "slope": slope})
    for i in range(6):
        alone = session.run(None, {"images": images[i : i + 1], "slope": slope[i : i + 1]})
        for whole, part in zip(together, alone, strict=True):
            np.testing.assert_allclose(whole[i : i + 1], part, rtol=1e-5, atol=1e-6)


class Branch(nn.Module):
    """Code that looks at its input's values."""

    def forward(self, x: Tensor) -> Tensor:
        return x if bool(x.sum() > 0) else -x


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (nn.AvgPool2d(3, 2, ceil_mode=True), "ceil_mode"),
        (nn.AdaptiveAvgPool2d(3), "divides"),
        (nn.BatchNorm2d(3, track_running_stats=False), "running statistics"),
        (Branch(), "cannot be traced"),
    ],
)
def test_what_cannot_be_differentiated_in_a_graph_is_refused_by_name(layer: nn.Module, reason: str) -> None:
    shape = (3, 8, 8)
    network = assemble(nn.Sequential(layer, nn.Flatten()), shape)
    images = example_images(shape)
    with pytest.raises(ExportError, match=reason):
        trace(_forward_and_backward(network), [images, torch.zeros(len(images), 4)], network)
