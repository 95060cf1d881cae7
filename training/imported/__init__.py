"""Networks that Holdfast did not train: built by somebody's own code, with somebody's own weights."""

from __future__ import annotations

from training.imported.building import build_module
from training.imported.network import ImportedNetwork
from training.imported.preprocessing import Preprocessing
from training.imported.trial import try_out
from training.imported.weights import load_weights

__all__ = ["ImportedNetwork", "Preprocessing", "build_module", "load_weights", "try_out"]
