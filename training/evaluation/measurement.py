"""One line on one bundle behind one defence, and how it is measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from holdfast.attacks import Oracle, attack
from holdfast.attacks.catalogue import attack_of
from holdfast.attacks.ensemble import left_over
from holdfast.attacks.inputs import answered
from holdfast.attacks.loss import AnyLoss
from holdfast.attacks.onnx_defended import open_oracle
from holdfast.attacks.oracle import passes
from holdfast.attacks.parameters import Cost
from holdfast.bundle import Bundle, resolve
from holdfast.errors import UsageError
from holdfast.manifest import Defence
from training.data import Split
from training.evaluation.line import Line, Through
from training.evaluation.outcome import Outcome, kept_flags

if TYPE_CHECKING:
    from holdfast.attacks.oracle import GradientAnswer

_DEFENCES: tuple[Defence, ...] = ("none", "imt", "imt+")

#: Called with the share of a batch that is done.
Progress = Callable[[float], None]


@dataclass(frozen=True)
class Measurement:
    """What is measured.

    Attributes:
        bundle: The directory of the bundle under attack.
        defence: The one that it is judged behind.
        line: The attack.
    """

    bundle: Path
    defence: Defence
    line: Line

    @property
    def adaptive(self) -> bool:
        """Whether the attack has the model as it is judged, its defence included."""
        return self.line.source is None or self.line.source == self.defence


@dataclass
class Bench:
    """What a process measures with: each bundle and each oracle is opened once.

    Attributes:
        store: Where sources are looked up by name.
        threads: CPU threads of each session; 0 for all cores.
    """

    store: Path
    threads: int = 0
    _oracles: dict[tuple[Path, Defence, Through], Oracle] = field(default_factory=dict)

    def measure(self, what: Measurement, batch: Split, progress: Progress = lambda _: None) -> Outcome:
        """Attack a batch of n images, and see which the model is right about before and afterwards."""
        images = batch.images.astype(np.float32) / np.float32(255)
        labels = batch.labels
        judge = self.oracle(what.bundle, what.defence)
        line = what.line
        if line.parameters is None:
            right = np.asarray(judge.logits(images)).argmax(1) == labels
            nothing = np.zeros(len(labels), dtype=np.float32)
            spent = passes(judge) * len(labels)
            return Outcome(
                right, right, ~right, np.zeros_like(right), nothing, nothing, spent.forwards, spent.backwards
            )
        result = attack(
            judge,
            images,
            labels,
            line.parameters,
            source=self._source(what),
            batch_size=len(images),
            progress=lambda done, of: progress(done / of),
        )
        # An answer of NaN fools nobody, and counts as held: so the flag says, and so all else counts it.
        right = ~answered(result.logits) | (result.logits.argmax(1) == labels)
        kind = attack_of(line.parameters)
        return Outcome(
            clean=result.logits_before.argmax(1) == labels,
            right=right,
            success=result.success,
            lost=result.success & ~result.survives_rounding,
            linf=result.linf.astype(np.float32),
            l2=result.l2.astype(np.float32),
            forwards=result.forwards,
            backwards=result.backwards,
            gradients=result.gradients if kind.access == "gradient" else 0,
            zeros=result.zero_gradients if kind.access == "gradient" else 0,
            blind=left_over(line.parameters, result.fooled_by),
            raised=kept_flags(result.flags),
            seconds=result.seconds,
        )

    def oracle(self, root: Path, defence: Defence, through: Through = "bpda") -> Oracle:
        """The oracle over a bundle behind a defence."""
        key = root, defence, through
        if key not in self._oracles:
            bundle = Bundle.open(root, verify=False)
            if through == "end-to-end" and defence != "none":
                self._oracles[key] = _end_to_end(bundle, defence, self.threads)
            else:
                self._oracles[key] = open_oracle(bundle, defence, threads=self.threads)
        return self._oracles[key]

    def _source(self, what: Measurement) -> Oracle | None:
        if what.line.source is not None:
            return self.oracle(*find_source(what, self.store), what.line.through)
        if what.line.through == "end-to-end":
            return self.oracle(what.bundle, what.defence, "end-to-end")
        return None


def find_source(what: Measurement, store: Path) -> tuple[Path, Defence]:
    """The bundle and the defence that a transfer attack crafts on.

    Raises:
        UsageError: The bundle does not fit the one under attack.
        BundleError: There is no such bundle.
    """
    text = what.line.source or what.defence
    if text in _DEFENCES:
        _demand_offered(Bundle.open(what.bundle, verify=False), text)
        return what.bundle, text
    name, _, named = text.partition(":")
    if (named or "none") not in _DEFENCES:
        raise UsageError(f"{text!r}: {named!r} is no defence; they are {', '.join(_DEFENCES)}.")
    defence: Defence = next(each for each in _DEFENCES if each == (named or "none"))
    source, judge = resolve(name, store), Bundle.open(what.bundle, verify=False)
    ours, theirs = judge.manifest, source.manifest
    if (ours.input.shape, ours.classes) != (theirs.input.shape, theirs.classes):
        raise UsageError(f"{source.name} and {judge.name} differ in images or classes: nothing transfers.")
    _demand_offered(source, defence)
    return source.root, defence


def _demand_offered(bundle: Bundle, defence: Defence) -> None:
    offered = bundle.manifest.defences
    if defence not in offered:
        raise UsageError(
            f"Model {bundle.name} version {bundle.version} does not offer the defence {defence!r}.",
            hint=f"It offers: {', '.join(offered)}.",
        )


def _end_to_end(bundle: Bundle, defence: Defence, threads: int) -> Oracle:
    """Through the transformation's own gradient, by autograd in torch, on a GPU where there is one."""
    import torch

    from holdfast.attacks.torch_defended import TransformedOracle
    from training.models.defended import DefendedNetwork
    from training.rebuild import rebuild

    if threads:
        torch.set_num_threads(threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network, imt = rebuild(bundle).requires_grad_(False).to(device), bundle.manifest.imt
    if not isinstance(network, DefendedNetwork) or imt is None:
        raise UsageError(f"{bundle.name} offers no {defence}.")
    halved = imt.halved if defence == "imt+" else None
    oracle = TransformedOracle(network, epsilon=imt.epsilon, halved=halved, through="end-to-end")
    return _OnTorch(oracle, device)


class _OnTorch:
    """An oracle over torch tensors that is asked with numpy arrays."""

    dynamic = True

    def __init__(self, oracle: Any, device: Any) -> None:
        self._oracle, self._device = oracle, device

    @property
    def classes(self) -> int:
        """How many classes the model tells apart."""
        found: int = self._oracle.classes
        return found

    def passes(self, loss: AnyLoss | None) -> Cost:
        """See :func:`holdfast.attacks.oracle.passes`."""
        return passes(self._oracle, loss)

    def logits(self, images: np.ndarray) -> np.ndarray:
        """See :meth:`holdfast.attacks.oracle.Oracle.logits`."""
        found: np.ndarray = self._oracle.logits(self._tensor(images)).numpy(force=True)
        return found

    def gradient(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        loss: Any,
        targets: np.ndarray | None = None,
        originals: np.ndarray | None = None,
    ) -> GradientAnswer:
        """See :meth:`holdfast.attacks.oracle.Oracle.gradient`."""
        from holdfast.attacks.oracle import GradientAnswer

        others = (None if one is None else self._tensor(one) for one in (targets, originals))
        answer = self._oracle.gradient(self._tensor(images), self._tensor(labels), loss, *others)
        found = (answer.logits, answer.loss, answer.gradient)
        return GradientAnswer(*(one.numpy(force=True) for one in found))

    def _tensor(self, array: np.ndarray) -> Any:
        import torch

        return torch.from_numpy(np.ascontiguousarray(array)).to(self._device)
