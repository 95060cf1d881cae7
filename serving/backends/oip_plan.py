"""What a server of the Open Inference Protocol calls a bundle's model, and how it is asked for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from holdfast.bundle import Bundle
from holdfast.errors import HoldfastError, UsageError
from holdfast.manifest import Defence
from holdfast.oip.classifier import DEFENCE_EXTENSION, IMAGES
from holdfast.oip.wire import BINARY_EXTENSION

#: By NAME[/VERSION][:DEFENCE] of a bundle, the server's NAME[/VERSION].
ModelNames = Mapping[str, str]

#: What a graph of ours, or another server of ours, calls the outputs; the first that is there is taken.
_OUTPUTS = {"logits": ("logits",), "manifold": ("manifold",), "moved": ("moved", "step")}


class OtherModelError(HoldfastError):
    """The server has a model of this name that takes or gives other tensors than the bundle's."""


@dataclass(frozen=True)
class ServerDescription:
    """What a server says of itself.

    Attributes:
        binary: Whether it takes tensors as bytes.
        defences: Whether it is one of Holdfast's, which takes the parameter ``defence``.
        gives_no_metadata: Whether it is TorchServe, which has none of its models'.
    """

    binary: bool
    defences: bool
    gives_no_metadata: bool

    @classmethod
    def of(cls, metadata: Mapping[str, Any]) -> ServerDescription:
        """From its metadata, ``GET /v2``."""
        extensions = metadata.get("extensions")
        known = extensions if isinstance(extensions, list) else []
        torchserve = str(metadata.get("name", "")).lower() == "torchserve"
        return cls(
            binary=BINARY_EXTENSION in known,
            defences=DEFENCE_EXTENSION in known or torchserve,
            gives_no_metadata=torchserve,
        )


@dataclass(frozen=True)
class Remote:
    """A model as the server calls it.

    Attributes:
        name: Its name.
        versions: The versions to try, in this order; empty stands for an address without one.
        parameters: To be sent along.
    """

    name: str
    versions: Sequence[str]
    parameters: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """How to ask for a model behind one defence.

    Attributes:
        path: Where it is, without ``/infer``.
        input: What the images are called.
        outputs: By our name of an output, the server's.
        listed: Whether the server said which outputs there are, so that some may be asked for by name.
        binary: Whether tensors go as bytes.
        parameters: To be sent along.
    """

    path: str
    input: str
    outputs: Mapping[str, str]
    listed: bool
    binary: bool
    parameters: Mapping[str, str]


def parse_models(words: Sequence[str]) -> ModelNames:
    """The names from a setting's words, ``NAME[/VERSION][:DEFENCE]=NAME[/VERSION]``.

    Raises:
        UsageError: A word is none.
    """
    names: dict[str, str] = {}
    for word in words:
        ours, equals, theirs = word.partition("=")
        if not equals or not ours or not theirs.strip("/") or theirs.count("/") > 1:
            raise UsageError(
                f"{word!r} does not say what a server calls a model.",
                hint="Write NAME=ITS-NAME, or NAME/VERSION:DEFENCE=ITS-NAME/ITS-VERSION.",
            )
        names[ours] = theirs
    return names


def remote_of(
    bundle: Bundle, defence: Defence, models: ModelNames, server: ServerDescription
) -> Remote | None:
    """What the server calls a bundle behind a defence; ``None`` if it cannot have it."""
    name, version = bundle.name, bundle.version
    exact = models.get(f"{name}/{version}:{defence}") or models.get(f"{name}:{defence}")
    parameters = {"defence": defence} if server.defences and not exact else {}
    if not exact and defence != "none" and not server.defences:
        return None
    theirs = exact or models.get(f"{name}/{version}") or models.get(name) or name
    remote, slash, asked = theirs.partition("/")
    return Remote(remote, [asked] if slash else [version, ""], parameters)


def plan_for(
    bundle: Bundle,
    path: str,
    metadata: Mapping[str, Any],
    server: ServerDescription,
    parameters: Mapping[str, str],
    defence: Defence,
) -> Plan:
    """How to ask for a model that is at ``path`` and described by ``metadata``.

    Raises:
        OtherModelError: It takes or gives what the bundle does not.
    """
    inputs, outputs = _tensors(metadata, "inputs"), _tensors(metadata, "outputs")
    if len(inputs) > 1:
        raise OtherModelError(f"{path} takes {len(inputs)} inputs; {bundle.name} takes one.")
    given = inputs[0] if inputs else {"name": IMAGES, "datatype": "FP32", "shape": []}
    _check_input(given, bundle, path)
    names = [str(output["name"]) for output in outputs]
    found = {
        ours: next(name for name in theirs if name in names or not names)
        for ours, theirs in _OUTPUTS.items()
        if not names or any(name in names for name in theirs)
    }
    if "logits" not in found:
        if len(names) != 1:
            raise OtherModelError(f"{path} has no output 'logits'; it gives {', '.join(names)}.")
        found["logits"] = names[0]
    if bundle.manifest.manifold is None:
        found.pop("manifold", None)
    if defence == "none":
        found.pop("moved", None)
    return Plan(path, str(given["name"]), found, bool(names), server.binary, parameters)


def offer(bundle: Bundle, plans: Mapping[Defence, Plan]) -> Bundle:
    """The bundle with those defences, and that evidence, that the server gives."""
    manifest = bundle.manifest
    changes: dict[str, Any] = {"defences": [name for name in manifest.defences if name in plans]}
    if not any("manifold" in plan.outputs for plan in plans.values()):
        changes["manifold"] = None
    if not {"imt", "imt+"} & set(plans):
        changes["imt"] = None
    return replace(bundle, manifest=manifest.model_copy(update=changes))


def _tensors(metadata: Mapping[str, Any], member: str) -> list[Mapping[str, Any]]:
    entries = metadata.get(member)
    return [
        entry
        for entry in (entries if isinstance(entries, list) else [])
        if isinstance(entry, dict) and "name" in entry
    ]


def _check_input(given: Mapping[str, Any], bundle: Bundle, path: str) -> None:
    datatype, shape = given.get("datatype"), given.get("shape") or []
    expected = [-1, *bundle.manifest.input.shape]
    fits = len(shape) in (0, len(expected)) and all(
        side in (-1, wanted) or wanted == -1 for side, wanted in zip(shape, expected, strict=False)
    )
    if datatype != "FP32" or not fits:
        raise OtherModelError(
            f"{path} takes {datatype} {shape}; {bundle.name} version {bundle.version} takes FP32 {expected}."
        )
