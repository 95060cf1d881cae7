"""Finding a model among those that a backend serves."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

from holdfast.bundle import Bundle
from holdfast.routing import choose
from serving.backends.base import UnknownModelError, UnknownVersionError

logger = logging.getLogger(__name__)


class Catalogue:
    """The bundles that are served, by name and version.

    Args:
        bundles: In any order; no two of the same name and version.
        weights: By model, how the requests that name no version are shared out over its versions. What they
            say of a version that is not served is passed over. The newest answers for a model without.
    """

    def __init__(
        self, bundles: Iterable[Bundle] = (), weights: Mapping[str, Mapping[str, int]] | None = None
    ) -> None:
        self._bundles = sorted(bundles, key=lambda bundle: (bundle.name, int(bundle.version)))
        self._versions: dict[str, dict[str, Bundle]] = {}
        for bundle in self._bundles:
            self._versions.setdefault(bundle.name, {})[bundle.version] = bundle
        self._weights = {
            name: self._serveable(name, (weights or {}).get(name, {})) for name in self._versions
        }

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

    def weights(self, name: str) -> Mapping[str, int]:
        """How the requests for a model that name no version are shared out; the sum is not 0.

        Raises:
            UnknownModelError: There is no such model.
        """
        self._find_model(name)
        return self._weights[name]

    def shares(self, name: str) -> dict[str, float]:
        """The same as shares of 1.

        Raises:
            UnknownModelError: There is no such model.
        """
        weights = self.weights(name)
        return {version: weight / sum(weights.values()) for version, weight in weights.items()}

    def default(self, name: str) -> str:
        """The version that answers most of the requests that name none, the newer one of two.

        Raises:
            UnknownModelError: There is no such model.
        """
        weights = self.weights(name)
        return max(weights, key=lambda version: (weights[version], int(version)))

    def find(self, name: str, version: str | None = None, *, key: str | None = None) -> Bundle:
        """One bundle.

        Args:
            name: The model.
            version: Its version; if none is named, the one that the weights choose.
            key: What they choose by: the same version for the same key. Without one, the default.

        Raises:
            UnknownModelError: There is no such model.
            UnknownVersionError: The model is there in other versions.
        """
        versions = self._find_model(name)
        if version is None:
            version = self.default(name) if key is None else choose(self._weights[name], key)
        if version not in versions:
            raise UnknownVersionError(
                f"Model '{name}' has no version '{version}'.", hint=f"It has: {', '.join(versions)}."
            )
        return versions[version]

    def _serveable(self, name: str, asked: Mapping[str, int]) -> dict[str, int]:
        versions = self._versions[name]
        found = {version: weight for version, weight in asked.items() if weight and version in versions}
        if missing := [version for version, weight in asked.items() if weight and version not in versions]:
            logger.warning(
                "The routing of %s names version %s, which is not served", name, ", ".join(missing)
            )
        return found or {next(reversed(versions)): 1}

    def _find_model(self, name: str) -> dict[str, Bundle]:
        if name not in self._versions:
            names = ", ".join(self._versions) or "none"
            raise UnknownModelError(f"There is no model '{name}' here.", hint=f"Models served: {names}.")
        return self._versions[name]
