"""What a run was computed on and with, for checkpoints and cards."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from training.distributed import World


def hardware(world: World) -> str:
    """The devices of a run in words, e.g. ``2 threads of AMD EPYC`` or ``1 x NVIDIA H200``."""
    if world.device.type == "cuda":
        return f"{world.size} x {torch.cuda.get_device_name(world.device)}"
    threads = torch.get_num_threads() * world.size
    return f"{threads} CPU thread{'s' if threads > 1 else ''} ({_processor()})"


def libraries() -> dict[str, str]:
    """Versions of what decides the numbers."""
    found = {"python": platform.python_version()}
    for name in ("holdfast", "torch", "torchvision", "onnx", "onnxruntime", "onnxscript", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or f"{os.cpu_count()} cores"
