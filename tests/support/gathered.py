"""What each of two processes computes of a matching that they share; run by ``torchrun``, see ``run``.

python -m torch.distributed.run --nproc-per-node=2 -m support.gathered DIRECTORY
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.distributed import World, join, leave
from training.methods import feature_scattering, fs_gan
from training.models import Network, build
from training.transport import MatchingOptions, matching_distance

PROCESSES = 2
#: Images of both processes together, and the largest group: two groups that are not the processes' shares.
IMAGES, GROUP = 20, 15

#: The matchings that are compared, by name.
MATCHINGS: dict[str, dict[str, Any]] = {
    "sinkhorn": {},
    "ipot": {"solver": "ipot", "ipot_outer": 5},
    "detached": {"plan_gradient": "detached"},
    "uniform": {"matching": "uniform"},
    "identity": {"matching": "identity"},
    "in groups": {"group": GROUP},
}


class GivenNoise:
    """Noise that was drawn before."""

    def __init__(self, values: Tensor) -> None:
        self._values = values

    def uniform(self, like: Tensor, low: float, high: float) -> Tensor:
        return low + (high - low) * self._values

    def normal(self, like: Tensor) -> Tensor:
        """Of shape (latents, n, length): each image's are its own, whichever others are in the batch."""
        places = torch.arange(like.shape[0] * like.shape[2]).view(like.shape[0], 1, like.shape[2])
        return torch.sin(places + 100 * self._values.mean(dim=(1, 2, 3))[:, None])


def features() -> tuple[Tensor, Tensor]:
    """Clean and moved features of all images, float64 (20, 6)."""
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(IMAGES, 6, dtype=torch.float64, generator=generator)
    return clean, clean + torch.randn(IMAGES, 6, dtype=torch.float64, generator=generator)


def images() -> tuple[Network, Tensor, Tensor]:
    """A network, images of both processes, and the draws of their random start."""
    torch.manual_seed(0)
    network = build("small-cnn", classes=10, channels=1, size=(8, 8), mean=(0.5,), std=(0.25,)).eval()
    return network, torch.rand(IMAGES, 1, 8, 8), torch.rand(IMAGES, 1, 8, 8)


def differentiate(share: slice, matching: dict[str, Any], *, gather: bool) -> dict[str, Tensor]:
    """The distance of a share of the features, and its gradients."""
    clean, moved = (part[share].clone().requires_grad_() for part in features())
    options = MatchingOptions.model_validate({**matching, "gather": gather})
    distance = matching_distance(clean, moved, options)
    gradients = torch.autograd.grad(distance, (clean, moved))
    return {"distance": distance.detach(), "clean": gradients[0], "moved": gradients[1]}


def scatter(share: slice, *, gather: bool) -> Tensor:
    """A share of the images, scattered."""
    network, clean, draws = images()
    options = feature_scattering.Parameters(epsilon=0.2, gather=gather, group=IMAGES)
    method = feature_scattering.FeatureScattering(options)
    return method.scatter(network, clean[share], GivenNoise(draws[share]))


def play(world: World, share: slice, *, gather: bool) -> dict[str, Tensor]:
    """FS-GAN's networks after a step of its generator, and the gradient that the classifier is stepped by.

    Batch norm is in eval mode everywhere, as it would tie the images of one process together.
    """
    network, clean, draws = images()
    options = {"epsilon": 0.2, "gather": gather, "group": IMAGES, "diversity": 0.0, "generator_width": 4}
    method = fs_gan.FSGAN(fs_gan.Parameters.model_validate({**options, "generator_levels": 2}))
    for companion in method.companions(network).values():
        companion.join(world)
        companion.network.eval()
    labels = torch.arange(IMAGES)[share] % network.classes
    method.loss(network, clean[share], labels, GivenNoise(draws[share])).backward()
    world.average_gradients(network)
    state = {f"generator.{name}": value for name, value in method.generator.network.state_dict().items()}
    gradients = {name: value.grad for name, value in network.named_parameters() if value.grad is not None}
    return {**state, **gradients}


def compute(world: World) -> dict[str, Any]:
    """All that this process computes of its share."""
    size = IMAGES // world.size
    share = slice(size * world.rank, size * (world.rank + 1))
    return {
        "share": (share.start, share.stop),
        "gathered": {name: differentiate(share, m, gather=True) for name, m in MATCHINGS.items()},
        "apart": {name: differentiate(share, m, gather=False) for name, m in MATCHINGS.items()},
        "scattered": scatter(share, gather=True),
        "played": play(world, share, gather=True),
    }


def run(directory: Path) -> list[dict[str, Any]]:
    """Start two processes; return what each of them computed."""
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={PROCESSES}", "--standalone"]
    done = subprocess.run(
        [*command, "-m", "support.gathered", str(directory)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{root}:{root / 'tests'}"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [torch.load(directory / f"{rank}.pt") for rank in range(PROCESSES)]


if __name__ == "__main__":
    here = join("cpu")
    torch.save(compute(here), Path(sys.argv[1]) / f"{here.rank}.pt")
    leave()
