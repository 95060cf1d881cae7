"""Bring your own torch model, from its training to an attack on its endpoint.

The network and its training know nothing of Holdfast. ``holdfast export own_model:build --weights …`` makes a
bundle of it, which is served and attacked like any other. What the export asks of a model, and what it says
where it cannot be: docs/own-model.md.

    cd examples
    python own_model.py
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch import Tensor, nn

from holdfast_client import Holdfast, HoldfastError

#: The digits' grey levels are 0 to 16; the network is given them as they come, less their mean.
LEVELS, MEAN = 16, 4.88


def build(width: int = 16) -> nn.Module:
    """What ``holdfast export`` calls: the network as it is trained, with fresh weights."""
    return nn.Sequential(
        nn.Conv2d(1, width, 3, stride=2, padding=1),
        nn.GroupNorm(4, width),
        nn.GELU(),
        nn.Conv2d(width, width, 3, padding=1, groups=width),
        nn.Conv2d(width, 2 * width, 1),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(8 * width, 10),
    )


def train(epochs: int) -> nn.Module:
    """Plain torch, on the first 1,500 digits."""
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:1500, None] - MEAN
    labels = torch.tensor(digits.target)[:1500]
    network = build()
    optimiser = torch.optim.AdamW(network.parameters(), 3e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(64):
            optimiser.zero_grad()
            loss: Tensor = nn.functional.cross_entropy(network(images[batch]), labels[batch])
            loss.backward()
            optimiser.step()
    return network.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--work", type=Path, default=Path("own-model"), help="for weights and bundles")
    arguments = parser.parse_args()
    weights, store = arguments.work / "digits.safetensors", arguments.work / "store"
    arguments.work.mkdir(parents=True, exist_ok=True)
    save_file(train(arguments.epochs).state_dict(), weights)

    holdfast = [sys.executable, "-m", "holdfast"]
    export = [
        "export",
        "own_model:build",
        "--weights",
        str(weights),
        "--name",
        "own-digits",
        "--store",
        str(store),
    ]
    # Images at hand are 0 to 1; the network was trained on 0 to 16, less the mean.
    export += [
        "--data",
        "digits",
        "--input-range",
        f"0..{LEVELS}",
        "--normalise",
        f"{MEAN}/1",
        "--epsilon",
        "0.15",
    ]
    export += ["--version", "1", "--force"]
    print("$ holdfast", *export, flush=True)
    subprocess.run(holdfast + export, check=True, cwd=Path.cwd(), env=os.environ | here())

    seven = Path(__file__).parent / "digits" / "seven.png"
    with gateway(store) as url, Holdfast(url, model="own-digits") as client:
        print(client.models.get("own-digits"))
        print(client.classify(seven))
        for attack in ("pgd", "square"):
            print(client.attack(seven, attack, label="7"))


def here() -> dict[str, str]:
    """The environment in which this file is found as ``own_model``."""
    paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


@contextmanager
def gateway(store: Path) -> Iterator[str]:
    """``holdfast serve`` on a free port, until the block is left."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    settings = {"HOLDFAST_MODEL_STORE": str(store), "HOLDFAST_PORT": str(port)}
    command, quiet = [sys.executable, "-m", "holdfast", "serve"], subprocess.DEVNULL
    process = subprocess.Popen(command, env=os.environ | settings, stdout=quiet, stderr=quiet)
    try:
        wait_for(url, process)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    """Until the gateway lists its model."""
    with Holdfast(url, max_retries=0) as client:
        while process.poll() is None:
            try:
                client.models.list()
            except HoldfastError:
                time.sleep(0.2)
            else:
                return
    raise RuntimeError(f"the gateway ended with {process.returncode}")


if __name__ == "__main__":
    main()
