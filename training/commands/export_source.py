"""What ``holdfast export`` can export: a run's network, or that of a bundle."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from holdfast import console
from holdfast.bundle import MANIFEST, Bundle
from holdfast.errors import UsageError
from training.checkpoint import load_exported
from training.export import Facts
from training.models import Network
from training.rebuild import rebuild
from training.recipe import DatasetSection, Recipe


@dataclass(frozen=True)
class Source:
    """A network to export.

    Attributes:
        network: In eval mode.
        facts: What is known of it.
        dataset: Which images it was trained on.
        name: What it is called unless said otherwise.
    """

    network: Network
    facts: Facts
    dataset: DatasetSection
    name: str

    @classmethod
    def find(cls, path: Path, description: str) -> Source:
        """The network of a bundle's directory, of a run's, or of one checkpoint.

        Raises:
            HoldfastError: It is none of these, it is damaged, or a bundle's weights were rounded.
        """
        return (
            cls._of_bundle(path, description)
            if (path / MANIFEST).is_file()
            else cls._of_run(path, description)
        )

    @classmethod
    def _of_run(cls, checkpoint: Path, description: str) -> Source:
        network, info = load_exported(checkpoint)
        recipe = Recipe.model_validate(info.recipe)
        if not info.finished:
            console.stderr.print(
                f"[bold yellow]Warning:[/] the run is not finished: epoch {info.epoch} of {recipe.epochs}."
            )
        return cls(network, Facts.of_run(info, network, description), recipe.dataset, recipe.name)

    @classmethod
    def _of_bundle(cls, root: Path, description: str) -> Source:
        bundle = Bundle.open(root)
        manifest = bundle.manifest
        if manifest.imported is not None:
            raise UsageError(
                f"{root} was imported from {manifest.imported.factory}.",
                hint=f"Export it from there: holdfast export {manifest.imported.factory} --weights FILE",
            )
        if manifest.precision is not None:
            raise UsageError(
                f"{root} has its weights rounded to {manifest.precision.weights} already.",
                hint="Export the run, or the bundle that was exported with --precision float32.",
            )
        try:
            dataset = DatasetSection.model_validate(manifest.recipe.get("dataset"))
        except ValidationError:
            raise UsageError(
                f"{root} does not say which images its network was trained on.", hint="Export the run."
            ) from None
        return cls(rebuild(bundle), Facts.of_bundle(manifest, description), dataset, manifest.name)
