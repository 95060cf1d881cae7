"""The attacks there are."""

from __future__ import annotations

from functools import cache
from importlib import import_module

from holdfast.attacks.definition import Attack
from holdfast.attacks.parameters import AttackParameters
from holdfast.errors import UsageError

#: Modules of this package that define attacks, in ``ATTACKS``: from the plainest to the strongest.
_MODULES = (
    "random_noise",
    "pgd",
    "carlini_wagner",
    "ddn",
    "spsa",
    "rays",
    "apgd",
    "fab",
    "square",
    "autoattack",
)


@cache
def catalogue() -> dict[str, Attack]:
    """Every attack by its name, in the order in which they are shown."""
    found = {}
    for name in _MODULES:
        attacks: tuple[Attack, ...] = import_module(f"holdfast.attacks.{name}").ATTACKS
        found.update({attack.name: attack for attack in attacks})
    return found


def find(name: str) -> Attack:
    """The attack of that name.

    Raises:
        UsageError: There is none.
    """
    attack = catalogue().get(name)
    if attack is None:
        raise UsageError(f"There is no attack {name!r}.", hint=f"There are: {', '.join(catalogue())}.")
    return attack


def attack_of(parameters: AttackParameters) -> Attack:
    """The attack that these are the parameters of."""
    for attack in catalogue().values():
        if type(parameters) is attack.parameters:
            return attack
    raise TypeError(f"{type(parameters).__name__} are the parameters of no attack in the catalogue")
