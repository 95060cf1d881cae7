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
    "cw-l2": {"steps": 10, "searches": 4, "initial_c": 0.1, "learning_rate": 0.05},
    "ddn": {"steps": 12, "initial_norm": 0.3},
    "spsa": {"steps": 4, "samples": 24, "samples_per_call": 16, "learning_rate": 0.03},
    "rays": {"query_budget": 300, "tolerance": 1e-4},
    "apgd-ce": {"steps": 6, "restarts": 2},
    "apgd-dlr": {"steps": 6},
    "apgd-t": {"steps": 6, "classes": 2},
    "fab": {"steps": 5, "restarts": 2},
    "fab-t": {"steps": 5, "classes": 3},
    "square": {"query_budget": 60},
    "autoattack": {"steps": 4, "query_budget": 20},
}


def quick(name: str, **changes: Any) -> AttackParameters:
    """Parameters of the attack of that name, few steps long; ``changes`` that it lacks are left out."""
    kind = catalogue()[name].parameters
    known = {key: value for key, value in changes.items() if key in kind.model_fields}
    return kind.model_validate(QUICK[name] | known)
