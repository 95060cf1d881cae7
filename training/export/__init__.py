"""From a trained network to a bundle: graphs, weights, manifest and card, checked before they are seen."""

from __future__ import annotations

from training.errors import ExportError
from training.export.facts import Facts
from training.export.held_out import HeldOut
from training.export.write import count_steps, export_bundle

__all__ = ["ExportError", "Facts", "HeldOut", "count_steps", "export_bundle"]
