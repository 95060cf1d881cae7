"""What a bundle's manifest says of a network that the network itself does not know."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any

from holdfast.manifest import (
    Architecture,
    Dataset,
    Discriminator,
    Head,
    Imported,
    InputSpec,
    Manifest,
    ThreatModel,
    TrainingRun,
    Transformation,
)
from training.checkpoint import CheckpointInfo
from training.environment import libraries
from training.models import Network
from training.models.defended import DefendedNetwork
from training.recipe import Recipe


@dataclass(frozen=True)
class Facts:
    """Where a network comes from and what it is for; :class:`holdfast.manifest.Manifest` has each part."""

    method: str
    recipe: dict[str, Any]
    dataset: Dataset
    classes: list[str]
    input: InputSpec
    architecture: Architecture
    threat_model: ThreatModel
    training: TrainingRun | None
    head: Head = "linear"
    description: str = ""
    discriminator: Discriminator | None = None
    imt: Transformation | None = None
    imported: Imported | None = None
    libraries: dict[str, str] = field(default_factory=libraries)

    @classmethod
    def of_run(cls, info: CheckpointInfo, network: Network, description: str = "") -> Facts:
        """What a checkpoint of a run knows."""
        recipe, data = Recipe.model_validate(info.recipe), info.dataset
        channels, height, width = data.shape
        images = info.step * recipe.batch_size
        return cls(
            method=str(recipe.method["name"]),
            recipe=_without_paths(recipe.model_dump(mode="json", exclude_none=True)),
            dataset=Dataset(name=public_name(data.name), train_images=data.train_images, note=data.note),
            classes=data.classes,
            input=InputSpec.model_validate({"channels": channels, "height": height, "width": width}),
            architecture=Architecture(
                name=recipe.model.architecture,
                arguments=recipe.model.arguments,
                parameters=sum(parameter.numel() for parameter in network.parameters()),
            ),
            threat_model=ThreatModel(norm=recipe.threat_model.norm, epsilon=recipe.threat_model.epsilon),
            training=TrainingRun(
                epochs=round(info.epoch + _share_of_epoch(info, recipe), 3),
                steps=info.step,
                seed=recipe.seed,
                hardware=info.hardware,
                seconds=round(info.seconds, 1),
                images_per_second=round(images / info.seconds, 1) if info.seconds else 0.0,
            ),
            head=recipe.model.head,
            description=description,
            discriminator=_discriminator(recipe, network),
            # ATLD's program moves an image by its whole budget.
            imt=Transformation(epsilon=recipe.threat_model.epsilon)
            if isinstance(network, DefendedNetwork)
            else None,
            # Those of the training run, where they differ from those of the export.
            libraries=libraries() | info.libraries,
        )

    @classmethod
    def of_bundle(cls, manifest: Manifest, description: str = "") -> Facts:
        """What another bundle of the same network knows; not what was measured on it."""
        return cls(
            method=manifest.method,
            recipe=manifest.recipe,
            dataset=manifest.dataset,
            classes=manifest.classes,
            input=manifest.input,
            architecture=manifest.architecture,
            threat_model=manifest.threat_model,
            training=manifest.training,
            head=manifest.head,
            description=description or manifest.description,
            discriminator=None if manifest.manifold is None else manifest.manifold.discriminator,
            imt=None if manifest.imt is None else manifest.imt.model_copy(update={"parity": None}),
            libraries=libraries() | manifest.libraries,
        )

    def sections(self) -> dict[str, Any]:
        """The sections of a manifest that these facts are."""
        return {
            "description": self.description,
            "method": self.method,
            "recipe": self.recipe,
            "dataset": self.dataset,
            "classes": self.classes,
            "input": self.input,
            "architecture": self.architecture,
            "head": self.head,
            "threat_model": self.threat_model,
            "training": self.training,
            "imported": self.imported,
            "libraries": self.libraries,
        }


def _discriminator(recipe: Recipe, network: Network) -> Discriminator | None:
    if not isinstance(network, DefendedNetwork):
        return None
    return Discriminator(architecture=recipe.method["discriminator"], latent=network.latent)


def _share_of_epoch(info: CheckpointInfo, recipe: Recipe) -> float:
    return info.step_in_epoch * recipe.batch_size / info.dataset.train_images


def _without_paths(recipe: dict[str, Any]) -> dict[str, Any]:
    return recipe | {"dataset": recipe["dataset"] | {"name": public_name(recipe["dataset"]["name"])}}


def public_name(dataset: str) -> str:
    """A data set's name; of one that is a path, the last part: the rest is nobody's business."""
    scheme, colon, path = dataset.partition(":")
    return f"{scheme}:{PurePath(path).name}" if colon else dataset
