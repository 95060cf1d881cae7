"""Finding a model among those that a backend serves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from holdfast.bundle import Bundle
from serving.backends.base import UnknownModelError, UnknownVersionError


class Catalogue:
    """The bundles that are served, by name and version.

    Args:
        bundles: In any order; no two of the same name and version.
    """

    def __init__(self, bundles: Iterable[Bundle] = ()) -> None:
        self._bundles = sorted(bundles, key=lambda bundle: (bundle.name, int(bundle.version)))
        self._versions: dict[str, dict[str, Bundle]] = {}
        for bundle in self._bundles:
            self._versions.setdefault(bundle.name, {})[bundle.version] = bundle

    def __len__(self) -> int:
        return len(self._bundles)

    @property
    def bundles(self) -> Sequence[Bundle]:
        """Every bundle, by name, oldest version first."""
        return self._bundles

    def names(self) -> list[str]:
        """The models, sorted."""
        return list(self._versions)

    def versions(self, name: str) -> list[str]:
        """A model's versions, oldest first.

        Raises:
            UnknownModelError: There is no such model.
        """
        return list(self._find_model(name))

    def find(self, name: str, version: str | None = None) -> Bundle:
        """One bundle; the newest version if none is named.

        Raises:
            UnknownModelError: There is no such model.
            UnknownVersionError: The model is there in other versions.
        """
        versions = self._find_model(name)
        if version is None:
            return next(reversed(versions.values()))
        if version not in versions:
            raise UnknownVersionError(
                f"Model '{name}' has no version '{version}'.", hint=f"It has: {', '.join(versions)}."
            )
        return versions[version]

    def _find_model(self, name: str) -> dict[str, Bundle]:
        if name not in self._versions:
            names = ", ".join(self._versions) or "none"
            raise UnknownModelError(f"There is no model '{name}' here.", hint=f"Models served: {names}.")
        return self._versions[name]
