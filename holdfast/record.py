"""What every part of a manifest is."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A part of the manifest: immutable, and unknown fields are refused rather than dropped."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
