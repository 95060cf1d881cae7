"""The passes that a defended model's answers cost are those that its networks run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.defended import EPSILON, last_digits
from torch import Tensor

from holdfast.attacks import AdaptiveLoss, EOTOracle, Loss, Oracle, PGDParameters, SquareParameters, attack
from holdfast.attacks.loss import AnyLoss
from holdfast.attacks.onnx_defended import open_oracle
from holdfast.attacks.oracle import passes, questions
from holdfast.attacks.parameters import TWICE, Cost
from holdfast.attacks.torch_defended import CentredOracle, TransformedOracle
from holdfast.bundle import Bundle
from holdfast.manifest import Defence
from training.models.defended import DefendedNetwork
from training.rebuild import rebuild

#: What a run of each graph costs: all of it is run, whatever is asked of it.
GRAPHS = {
    "_predict": Cost(1),
    "_gradient": Cost(1, 1),
    "_manifold": Cost(1, 1),
    "_features": Cost(1, 1),
    "_transformed": Cost(2, 1),
}


class Ran:
    """What has been run."""

    def __init__(self) -> None:
        self.cost = Cost(0)


class Session:
    """A session of a graph that notes its runs, image by image."""

    def __init__(self, session: Any, cost: Cost, ran: Ran) -> None:
        self._session, self._cost, self._ran = session, cost, ran

    def run(self, outputs: list[str], inputs: dict[str, np.ndarray]) -> Any:
        self._ran.cost += self._cost * len(inputs["images"])
        return self._session.run(outputs, inputs)


def on_onnx(bundle: Bundle, defence: Defence) -> tuple[Oracle, Ran]:
    """The oracle that commands attack, and what its graphs ran."""
    oracle, ran = open_oracle(bundle, defence, threads=1), Ran()
    for name, cost in GRAPHS.items():
        if hasattr(oracle, name):
            setattr(oracle, name, Session(getattr(oracle, name), cost, ran))
    return oracle, ran


class Noted(torch.autograd.Function):
    """Images on their way into a network: every pass of it comes by here."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, ran: Ran) -> Tensor:
        ran.cost += Cost(len(images))
        ctx.ran = ran
        return images.view_as(images)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return NotedBackwards.apply(gradient, ctx.ran), None


class NotedBackwards(torch.autograd.Function):
    """The gradient on its way out again; and the gradient's own."""

    @staticmethod
    def forward(ctx: Any, gradient: Tensor, ran: Ran) -> Tensor:
        ran.cost += Cost(0, len(gradient))
        ctx.ran = ran
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, second: Tensor) -> tuple[Tensor, None]:
        ctx.ran.cost += Cost(0, len(second))
        return second, None


class Watched:
    """A network that notes its passes."""

    def __init__(self, network: Any) -> None:
        self.network, self.classes, self.ran = network, network.classes, Ran()
        self.classify = network.classify

    def __call__(self, images: Tensor) -> Any:
        return self.network(Noted.apply(images, self.ran))

    def features(self, images: Tensor) -> Any:
        return self.network.features(Noted.apply(images, self.ran))

    def manifold_logit(self, images: Tensor) -> Any:
        return self.network.manifold_logit(Noted.apply(images, self.ran))


@pytest.fixture(scope="module")
def judged(defended_store: Path) -> Bundle:
    return Bundle.open(defended_store / "judged" / "1")


@pytest.fixture(scope="module")
def centred(defended_store: Path) -> Bundle:
    return Bundle.open(defended_store / "centred" / "1")


def oracles(judged: Bundle, centred: Bundle) -> dict[str, tuple[Any, Ran, list[AnyLoss]]]:
    """Each oracle with what it ran, and its losses."""
    behind: list[AnyLoss] = [Loss.CROSS_ENTROPY, AdaptiveLoss.MANIFOLD]
    mats: list[AnyLoss] = [Loss.MARGIN, AdaptiveLoss.FTC, AdaptiveLoss.SO, AdaptiveLoss.BIBO]
    found: dict[str, tuple[Any, Ran, list[AnyLoss]]] = {}
    defences: tuple[Defence, ...] = ("imt", "imt+")
    for defence in defences:
        found[f"{defence} on onnx"] = *on_onnx(judged, defence), behind
    for through in ("bpda", "end-to-end"):
        network = rebuild(judged).requires_grad_(False)
        assert isinstance(network, DefendedNetwork)
        seen = Watched(network)
        oracle = TransformedOracle(seen, epsilon=EPSILON, through=through)  # type: ignore[arg-type]
        found[f"{through} on torch"] = oracle, seen.ran, behind
    found["centres on onnx"] = *on_onnx(centred, "none"), mats
    network = rebuild(centred).requires_grad_(False)
    seen = Watched(network)
    found["centres on torch"] = CentredOracle(seen, network.head.centres), seen.ran, mats  # type: ignore[arg-type]
    return found


def test_every_answer_costs_the_passes_that_are_run_for_it(judged: Bundle, centred: Bundle) -> None:
    arrays, labels = last_digits(5)
    for name, (oracle, ran, losses) in oracles(judged, centred).items():
        given: list[Any] = [arrays, labels, arrays]
        if "torch" in name:
            given = [torch.from_numpy(array) for array in given]
        for loss in (None, *losses):
            ran.cost = Cost(0)
            if loss is None:
                oracle.logits(given[0])
            else:
                oracle.gradient(given[0], given[1], loss, None, given[2])
            assert passes(oracle, loss) * 5 == ran.cost, (name, loss)


def test_a_result_counts_the_passes_that_were_run_and_the_questions_that_were_asked(
    judged: Bundle,
) -> None:
    images, labels = last_digits(12)
    for parameters in (
        PGDParameters(epsilon=0.1, steps=3, loss="ce+manifold"),
        SquareParameters(epsilon=0.1, query_budget=10),
    ):
        oracle, ran = on_onnx(judged, "imt")
        result = attack(oracle, images, labels, parameters, batch_size=7)
        assert Cost(result.forwards, result.backwards) == ran.cost
        assert result.queries.max() <= parameters.cost(10).forwards + 3
        plain, _ = on_onnx(judged, "none")
        moved, ran = on_onnx(judged, "imt+")
        result = attack(moved, images, labels, PGDParameters(epsilon=0.1, steps=3), source=plain)
        on_victim = Cost(int(ran.cost.forwards), int(ran.cost.backwards))
        asked = int(result.queries.sum()) + TWICE
        assert result.forwards == asked + on_victim.forwards // 2
        assert result.backwards > on_victim.backwards > 0


def test_of_a_mean_the_passes_of_every_sample_count(judged: Bundle) -> None:
    oracle, _ = on_onnx(judged, "imt")
    mean = EOTOracle(EOTOracle(oracle, 3), 4)
    assert (questions(oracle), questions(mean)) == (1, 12)
    assert (passes(mean), passes(mean, Loss.CROSS_ENTROPY)) == (Cost(24, 12), Cost(24, 24))
