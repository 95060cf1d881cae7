"""What an attack asks of the model that it is crafted on, and whether the model has it."""

from __future__ import annotations

from pathlib import Path

from holdfast.attacks.apgd import APGDParameters, APGDTParameters
from holdfast.attacks.catalogue import attack_of
from holdfast.attacks.loss import MINIMUM_CLASSES, AdaptiveLoss
from holdfast.attacks.objective import Objective
from holdfast.bundle import FEATURES, GRADIENT, Bundle
from holdfast.errors import UsageError
from holdfast.manifest import Defence, Manifest
from training.evaluation.measurement import Measurement, find_source


def check(what: Measurement, store: Path) -> None:
    """Refuse an attack that its model has not got what it takes for: before the first is measured.

    Args:
        what: To be measured.
        store: Where the source of a transfer is looked up.

    Raises:
        UsageError: The attack cannot be run.
        BundleError: There is no such source.
    """
    parameters = what.line.parameters
    if parameters is None:
        return
    root, defence = find_source(what, store)
    bundle = Bundle.open(root, verify=False)
    manifest, name = bundle.manifest, f"{bundle.name}/{bundle.version}"
    attack = attack_of(parameters)
    if attack.access == "gradient" and not has_gradient(manifest):
        raise UsageError(
            f"{what.line.name}: {name} was exported without a gradient.",
            hint="Attack it by scores or decisions, with square or rays-2000, or by --attack "
            f"{what.line.name.split(',')[0]},from=ANOTHER.",
        )
    target = getattr(parameters, "target", None)
    if isinstance(target, int) and target >= len(manifest.classes):
        raise UsageError(
            f"{what.line.name}: there is no class {target}; {name} has 0 to {len(manifest.classes) - 1}."
        )
    text = getattr(parameters, "loss", None)
    if isinstance(text, str):
        objective = Objective.parse(text)
        if target is not None:
            objective = objective.for_target()
        if isinstance(parameters, APGDParameters | APGDTParameters):  # which take the margin by themselves
            objective = objective.for_classes(len(manifest.classes))
        _check_losses(objective, what.line.name, name, manifest, defence)


def has_gradient(manifest: Manifest) -> bool:
    """Whether attacks by gradient can be run on a model: some that were imported have none."""
    return GRADIENT in manifest.files


def _check_losses(objective: Objective, line: str, name: str, manifest: Manifest, defence: Defence) -> None:
    classes = len(manifest.classes)
    for _, loss in objective.terms:
        needed = MINIMUM_CLASSES.get(loss, 2)
        if classes < needed:
            raise UsageError(
                f"{line}: this loss needs {needed} classes and more; {name} has {classes}.",
                hint="Take the margin instead, which is its numerator: cw-20.",
            )
        if loss is AdaptiveLoss.MANIFOLD and defence == "none":
            raise UsageError(
                f"{line}: the loss {loss.value} is of the discriminator that a defence asks.",
                hint="Name a defence that the model offers, with --defence imt, if it offers one.",
            )
        centred = loss in (AdaptiveLoss.FTC, AdaptiveLoss.SO, AdaptiveLoss.BIBO)
        if centred and (defence != "none" or FEATURES not in manifest.files):
            raise UsageError(f"{line}: the loss {loss.value} is of class centres, which {name} has not got.")
