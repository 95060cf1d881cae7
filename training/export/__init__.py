"""From a trained network to a bundle: graphs, weights, manifest and card, checked before they are seen."""

from __future__ import annotations

from training.errors import ExportError
from training.export.facts import Facts
from training.export.half import Weights
from training.export.held_out import HeldOut
from training.export.steps import count_steps
from training.export.write import export_bundle

__all__ = ["ExportError", "Facts", "HeldOut", "Weights", "count_steps", "export_bundle"]
