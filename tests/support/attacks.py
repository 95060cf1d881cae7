"""Every attack of the catalogue with parameters that end quickly, for tests that hold for all of them."""

from __future__ import annotations

from typing import Any

from holdfast.attacks import AttackParameters, catalogue

#: An attack that has no line here fails the tests that go over the catalogue: give it one.
QUICK: dict[str, dict[str, Any]] = {
    "noise": {"tries": 3},
    "fgsm": {},
    "pgd": {"steps": 5, "restarts": 2},
    "cw-linf": {"steps": 5},
}


def quick(name: str, **changes: Any) -> AttackParameters:
    """Parameters of the attack of that name, few steps long; ``changes`` that it lacks are left out."""
    kind = catalogue()[name].parameters
    known = {key: value for key, value in changes.items() if key in kind.model_fields}
    return kind.model_validate(QUICK[name] | known)
