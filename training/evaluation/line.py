"""One attack as a line of a table: ``pgd-20``, ``apgd-t``, ``pgd-20,epsilon=16/255,from=trades-cifar10``.

A line is an attack's name, behind it its length (steps, or queries where it has no steps) and its restarts,
``cw-100x5``, and then ``key=value``: any parameter of the attack, ``from`` and ``through``.

``pgd``, ``cw`` and ``dlr`` follow FS's and ATLD's protocol: steps of ε/4, a random start, the last iterate
counts. All others have the attack's own defaults. An attack that minimises the threat model's norm is held to
its budget, and stops there; with ``epsilon=none``, or in another norm, it minimises freely, and its figure is
the norm that it needs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal, cast

from pydantic import ValidationError

from holdfast.attacks import AttackParameters, catalogue, find
from holdfast.attacks.parameters import MinimalParameters
from holdfast.errors import UsageError
from holdfast.manifest import ThreatModel
from holdfast.units import parse_budget

CLEAN = "clean"
#: What ``holdfast evaluate`` runs by default, and where there is no gradient.
DEFAULT_LINES = (CLEAN, "fgsm", "pgd-20", "cw-20", "dlr-20")
BLIND_LINES = (CLEAN, "square", "rays-2000")

#: PGD as the papers' tables run it, by the loss that it ascends.
_PAPERS = {"pgd": "ce", "cw": "cw", "dlr": "dlr"}
#: What the number behind a name counts, the first that the attack has.
_LENGTHS = ("steps", "query_budget", "tries")
_NAME = re.compile(r"([a-z]+(?:-[a-z][a-z0-9]*)*)(?:-([1-9]\d{0,6}))?(?:x([1-9]\d{0,2}))?")
_HINT = "Write clean, fgsm, pgd-20, cw-100x5, apgd-t, square-1000, pgd-20,epsilon=16/255 or the like."

Through = Literal["bpda", "end-to-end"]


@dataclass(frozen=True)
class Line:
    """An attack, ready to be run on any bundle within a threat model.

    Attributes:
        name: As it is written and shown.
        parameters: Of the attack; None for no attack at all.
        source: Craft on this instead and transfer: a defence of the same bundle (``none`` for the attack that
            does not know the defence), or another bundle, NAME or NAME/VERSION.
        through: How an attack on a defended model differentiates the defence; ``end-to-end`` needs torch.
    """

    name: str
    parameters: AttackParameters | None
    source: str | None = None
    through: Through = "bpda"

    @classmethod
    def parse(cls, text: str, threat: ThreatModel, seed: int = 0) -> Line:
        """Read a line.

        Args:
            text: As the module's docstring says.
            threat: The budget, where the line has none of its own.
            seed: Of all that is random.

        Raises:
            UsageError: There is no such attack, or it has no such parameter or value.
        """
        head, *rest = text.split(",")
        options: dict[str, str] = {}
        for part in rest:
            key, value = _option(text, part)
            if key in options:
                raise UsageError(f"{text!r} says {key} twice.", hint=_HINT)
            options[key] = value
        source, through = options.pop("from", None), options.pop("through", "bpda")
        if through not in ("bpda", "end-to-end"):
            raise UsageError(f"{text!r}: through is bpda or end-to-end, not {through!r}.")
        match = _NAME.fullmatch(head)
        if match is None:
            raise UsageError(f"There is no attack {head!r}.", hint=_HINT)
        if match[1] == CLEAN:
            if match[2] or match[3] or rest:
                raise UsageError(f"{text!r}: clean images have no parameters.", hint=_HINT)
            return cls(text, None)
        parameters = _parameters(text, match, options, threat, seed)
        if (
            (source is not None or through == "end-to-end")
            and "stop_at_success" not in options
            and "stop_at_success" in type(parameters).model_fields
        ):
            # What fools the source first, or the model in torch, need not fool the model: take every step.
            parameters = parameters.model_copy(update={"stop_at_success": False})
        return cls(text, parameters, source, cast(Through, through))

    @property
    def threat(self) -> ThreatModel | None:
        """The budget that the attack keeps to; None for one that minimises freely, or for no attack."""
        budget = None if self.parameters is None else self.parameters.budget
        return None if budget is None else ThreatModel(norm=budget[0], epsilon=budget[1])

    @property
    def minimises(self) -> bool:
        """Whether the attack looks for the nearest adversarial image, however far, so that norms are read."""
        return isinstance(self.parameters, MinimalParameters) and self.parameters.budget is None

    def passes(self, classes: int) -> int:
        """Forward and backward passes for one image at most, for the progress bar."""
        if self.parameters is None:
            return 1
        cost = self.parameters.cost(classes)
        return cost.forwards + cost.backwards + 1


def _option(text: str, part: str) -> tuple[str, str]:
    key, equals, value = part.partition("=")
    if not equals or not key or not value:
        raise UsageError(f"{text!r}: {part!r} is not key=value.", hint=_HINT)
    return key, value


def _parameters(
    text: str, match: re.Match[str], options: dict[str, str], threat: ThreatModel, seed: int
) -> AttackParameters:
    name, length, restarts = match[1], match[2], match[3]
    if name in _PAPERS and length is None:
        raise UsageError(f"There is no attack {text!r} without steps.", hint=_HINT)
    if name not in _PAPERS and name not in catalogue():
        known = [*_PAPERS, *(other for other in catalogue() if other not in _PAPERS)]
        raise UsageError(f"There is no attack {name!r}; there are {', '.join(known)}.", hint=_HINT)
    kind = find("pgd" if name in _PAPERS else name).parameters
    values: dict[str, Any] = {"seed": seed}
    if length is not None:
        values[_field(text, kind, _LENGTHS, "length")] = int(length)
    if restarts is not None:
        values[_field(text, kind, ("restarts",), "restarts")] = int(restarts)
    bounded = not issubclass(kind, MinimalParameters)
    if bounded:
        values["epsilon"] = parse_budget(options["epsilon"]) if "epsilon" in options else threat.epsilon
    if "norm" in kind.model_fields:
        values["norm"] = threat.norm
    if name in _PAPERS:
        values |= _papers_protocol(name, values["epsilon"], int(length or 0))
    elif name == "fgsm":
        values["random_start"] = True  # as in FS's and ATLD's program
    values |= {key: int(value) if value.isdecimal() else value for key, value in options.items()}
    if values.get("epsilon") == "none" and not bounded:
        values["epsilon"] = None
    try:
        found = kind.model_validate(values)
        if isinstance(found, MinimalParameters) and "epsilon" not in options and found.norm == threat.norm:
            # Whether the nearest adversarial image is within the budget, and nothing nearer is sought.
            sooner = {"stop_at_success": True} if "stop_at_success" in kind.model_fields else {}
            found = kind.model_validate(sooner | values | {"epsilon": threat.epsilon})
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][:1]) or "parameters"
        raise UsageError(
            f"{text!r}: {field}: {first['msg']}",
            hint=f"`holdfast attack --list` names the parameters of {name}.",
        ) from None
    return found


def _papers_protocol(name: str, epsilon: float, steps: int) -> dict[str, Any]:
    """FS: 2/255 within 8/255. At few steps longer ones, so that the ball's surface is in reach."""
    return {
        "loss": _PAPERS[name],
        "step_size": max(epsilon / 4, 2.5 * epsilon / steps),
        "stop_at_success": False,
    }


def _field(text: str, kind: type[AttackParameters], names: tuple[str, ...], what: str) -> str:
    for name in names:
        if name in kind.model_fields:
            return name
    raise UsageError(f"{text!r}: this attack has no {what}.", hint=_HINT)
