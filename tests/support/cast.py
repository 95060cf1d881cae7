"""A store whose bundles play the papers' rows: small networks of digits that say they were trained so."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from holdfast.bundle import Bundle, write_manifest


def put(
    source: Path,
    store: Path,
    name: str,
    method: str,
    *,
    options: Mapping[str, Any] | None = None,
    version: str = "1",
    later: int = 0,
    **changes: Any,
) -> Path:
    """Copy a bundle as if it had been trained by another method.

    Args:
        source: The bundle's directory.
        store: Where to.
        name: Of the copy.
        method: Of its recipe.
        options: Of the method.
        version: Of the copy.
        later: By how many days it is newer than the source.
        **changes: Of the manifest.

    Returns:
        The copy's directory.
    """
    manifest = Bundle.open(source).manifest
    recipe = {"method": {"name": method, **(options or {})}, **changes.pop("recipe", {})}
    target = store / name / version
    shutil.copytree(source, target)
    made = manifest.created + timedelta(days=later)
    changed = {"name": name, "version": version, "method": method, "recipe": recipe, "created": made}
    write_manifest(target, manifest.model_copy(update=changed | changes))
    return target
