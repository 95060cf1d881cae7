"""Which attack is held against which implementation, under which settings.

A match names one of our attacks with its parameters, and for each other library a function with the same
settings. Where a library's default departs from the paper's or from ours, the setting is written out here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal

import torch
from libraries import import_library, is_installed
from torch import Tensor, nn

from holdfast.attacks import AttackParameters, find

#: From images (n, c, h, w) in [0, 1] that the model gets right and labels (n,) to adversarial images.
Run = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Subject:
    """What a match is fought on.

    Attributes:
        network: In eval mode; logits out.
        epsilon: The L∞ budget, in image units.
        seed: Of all that is random.
    """

    network: nn.Module
    epsilon: float
    seed: int


@dataclass(frozen=True)
class Library:
    """Another library.

    Attributes:
        package: The distribution to install.
        module: What is imported of it.
        unused: What that imports without need.
    """

    package: str
    module: str
    unused: str | None = None

    @property
    def missing(self) -> bool:
        """Whether it is not installed here."""
        return not is_installed(self.module, unused=self.unused)

    def load(self) -> Any:
        """The module."""
        return import_library(self.module, unused=self.unused)


FOOLBOX = Library("foolbox", "foolbox")
AUTOATTACK = Library("pyautoattack", "pyautoattack")
#: It draws its progress with visdom if it is told to.
ADV_LIB = Library("adv-lib", "adv_lib.attacks", unused="visdom")
LIBRARIES = (FOOLBOX, AUTOATTACK, ADV_LIB)


@dataclass(frozen=True)
class Match:
    """One of our attacks and its opponents.

    Attributes:
        name: In tables and on the command line.
        attack: Ours, in the catalogue.
        compares: ``accuracy`` for an attack within the budget, ``norm`` for one that minimises the L2 norm.
        images: How many test images it is worth by default: fewer, where it is dear.
        settings: Ours, without the budget and the seed; they are what the opponents are set to.
        peers: The opponents by their package; each sets itself up for a subject.
    """

    name: str
    attack: str
    compares: Literal["accuracy", "norm"]
    images: int
    settings: Mapping[str, Any]
    peers: Mapping[Library, Callable[[Subject], Run]] = field(default_factory=dict)

    def parameters(self, subject: Subject) -> AttackParameters:
        """Ours, for a subject."""
        budget = {"epsilon": subject.epsilon} if self.compares == "accuracy" else {}
        kind = find(self.attack).parameters
        return kind(**budget, **self._scaled(subject.epsilon), seed=subject.seed)

    def _scaled(self, epsilon: float) -> dict[str, Any]:
        # A step is a share of the budget: 2/255 within 8/255.
        settings = dict(self.settings)
        if "step_share" in settings:
            settings["step_size"] = settings.pop("step_share") * epsilon
        return settings

    def describe(self) -> str:
        """The settings in one line."""
        shown = []
        for key, value in self.settings.items():
            name = key.replace("_", " ")
            if key == "step_share":
                shown.append(f"step size {value:g} ε")
            elif isinstance(value, bool):
                shown.append(name if value else f"no {name}")
            else:
                shown.append(f"{name} {value:g}")
        return ", ".join(shown)


def _foolbox(attack: str, *, bounded: bool = True, **settings: Any) -> Callable[[Subject], Run]:
    """One of foolbox's attacks; one that minimises is asked for its own best image."""

    def make(subject: Subject) -> Run:
        foolbox = FOOLBOX.load()
        model = foolbox.PyTorchModel(subject.network, bounds=(0, 1), device="cpu")
        kind = getattr(foolbox.attacks, attack)(**settings)

        def run(images: Tensor, labels: Tensor) -> Tensor:
            torch.manual_seed(subject.seed)
            found: tuple[Tensor, Tensor, Tensor] = kind(
                model, images, labels, epsilons=subject.epsilon if bounded else None
            )
            return found[1]

        return run

    return make


def _autoattack(*attacks: str) -> Callable[[Subject], Run]:
    """Attacks of AutoAttack's authors, each with one run as in their ``standard``, one after the other."""

    def make(subject: Subject) -> Run:
        judge = AUTOATTACK.load().AutoAttack(
            subject.network,
            norm="Linf",
            eps=subject.epsilon,
            seed=subject.seed,
            version="custom",
            attacks=list(attacks),
        )
        judge.apgd.n_restarts = judge.fab.n_restarts = 1  # by default five

        def run(images: Tensor, labels: Tensor) -> Tensor:
            found: tuple[Tensor, Tensor] = judge.run_standard_evaluation(
                images, labels, batch_size=len(images)
            )
            return found[0]

        return run

    return make


def _adv_lib(attack: str, **settings: Any) -> Callable[[Subject], Run]:
    """One of adv-lib's functions."""

    def make(subject: Subject) -> Run:
        function = getattr(ADV_LIB.load(), attack)

        def run(images: Tensor, labels: Tensor) -> Tensor:
            torch.manual_seed(subject.seed)
            found: Tensor = function(subject.network, images, labels, **settings)
            return found

        return run

    return make


@cache
def matches() -> dict[str, Match]:
    """All of them by name, the cheapest first."""
    auto = AUTOATTACK
    # As AutoAttack has it: only what falls within the budget counts, and so nothing is sought after that.
    boundary = {"steps": 100, "final_search": 0, "stop_at_success": True}
    found = (
        Match("fgsm", "fgsm", "accuracy", 1000, {}, {FOOLBOX: _foolbox("LinfFastGradientAttack")}),
        Match(
            "pgd-20",
            "pgd",
            "accuracy",
            1000,
            {"steps": 20, "step_share": 0.25, "random_start": False, "stop_at_success": False},
            {FOOLBOX: _foolbox("LinfPGD", steps=20, rel_stepsize=0.25, random_start=False)},
        ),
        Match(
            "pgd-20, random start",
            "pgd",
            "accuracy",
            1000,
            {"steps": 20, "step_share": 0.25, "random_start": True, "stop_at_success": False},
            {FOOLBOX: _foolbox("LinfPGD", steps=20, rel_stepsize=0.25, random_start=True)},
        ),
        Match("apgd-ce", "apgd-ce", "accuracy", 300, {"steps": 100}, {auto: _autoattack("apgd-ce")}),
        Match("apgd-dlr", "apgd-dlr", "accuracy", 300, {"steps": 100}, {auto: _autoattack("apgd-dlr")}),
        Match(
            "apgd-t", "apgd-t", "accuracy", 50, {"steps": 100, "classes": 9}, {auto: _autoattack("apgd-t")}
        ),
        Match("fab", "fab", "accuracy", 50, boundary, {auto: _autoattack("fab")}),
        Match("fab-t", "fab-t", "accuracy", 50, {**boundary, "classes": 9}, {auto: _autoattack("fab-t")}),
        Match("square", "square", "accuracy", 50, {"query_budget": 5000}, {auto: _autoattack("square")}),
        Match(
            "autoattack",
            "autoattack",
            "accuracy",
            20,
            {},
            {auto: _autoattack("apgd-ce", "apgd-t", "fab-t", "square")},
        ),
        Match(
            "ddn",
            "ddn",
            "norm",
            100,
            {"steps": 100, "gamma": 0.05, "initial_norm": 1.0},
            {
                FOOLBOX: _foolbox("DDNAttack", bounded=False, steps=100, gamma=0.05, init_epsilon=1.0),
                ADV_LIB: _adv_lib("ddn", steps=100, γ=0.05, init_norm=1.0, levels=None),
            },
        ),
        Match(
            "cw-l2",
            "cw-l2",
            "norm",
            20,
            {"steps": 100, "searches": 9, "initial_c": 1e-3, "learning_rate": 0.01, "abort_early": False},
            {
                FOOLBOX: _foolbox(
                    "L2CarliniWagnerAttack",
                    bounded=False,
                    steps=100,
                    binary_search_steps=9,
                    initial_const=1e-3,
                    stepsize=0.01,
                    abort_early=False,
                ),
                ADV_LIB: _adv_lib(
                    "carlini_wagner_l2",
                    max_iterations=100,
                    binary_search_steps=9,
                    initial_const=1e-3,
                    learning_rate=0.01,
                    abort_early=False,
                ),
            },
        ),
    )
    return {match.name: match for match in found}
