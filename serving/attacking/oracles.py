"""The models that one worker has open: verified when they are opened, and no more of them than it may."""

from __future__ import annotations

import time
from collections import OrderedDict

from holdfast.attacking.cost import Clock, cpu_clock
from holdfast.attacks.onnx_defended import open_oracle
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.bundle import Bundle, BundleError
from serving.attacking.messages import ModelKey

_CPU = "CPUExecutionProvider"


class ChangedBundleError(BundleError):
    """The bundle's directory holds another bundle than the one that is served."""


class Oracles:
    """Oracles by model and defence; the one that was not asked for the longest makes room.

    Args:
        most: How many to keep open.
        threads: CPU threads for one pass.
    """

    def __init__(self, *, most: int, threads: int) -> None:
        self._most = most
        self._threads = threads
        self._on_accelerator = False
        self._open: OrderedDict[ModelKey, tuple[OnnxOracle, tuple[int, int, int]]] = OrderedDict()

    @property
    def clock(self) -> Clock:
        """What passes are measured by: on CPUs their work, because a worker waits behind others for one."""
        if self._on_accelerator:
            return time.perf_counter
        return cpu_clock(self._threads)

    def __len__(self) -> int:
        return len(self._open)

    def get(self, key: ModelKey) -> OnnxOracle:
        """The oracle, opened if it is not yet.

        Raises:
            HoldfastError: The bundle cannot be used, or is not the one that is served.
        """
        return self._get(key)[0]

    def shape(self, key: ModelKey) -> tuple[int, int, int]:
        """The shape of an image that the model takes; raises as :meth:`get` does."""
        return self._get(key)[1]

    def _get(self, key: ModelKey) -> tuple[OnnxOracle, tuple[int, int, int]]:
        if key not in self._open:
            while len(self._open) >= self._most:
                self._open.popitem(last=False)
            bundle = Bundle.open(key.root)
            if bundle.manifest.digest != key.digest:
                raise ChangedBundleError(f"{key.root} holds another bundle than the one that is served.")
            oracle = open_oracle(bundle, key.defence, threads=self._threads)
            self._on_accelerator |= oracle.provider != _CPU
            self._open[key] = oracle, bundle.manifest.input.shape
        self._open.move_to_end(key)
        return self._open[key]
