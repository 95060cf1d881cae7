"""Carrying out one chunk: decode its images, attack them, keep what came of it."""

from __future__ import annotations

import json
import logging
import time
from collections import OrderedDict
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from holdfast.attacking.gathering import Gathering
from holdfast.attacking.parameters import Chosen
from holdfast.attacks import attack, find
from holdfast.attacks.onnx_defended import open_oracle
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.bundle import Bundle, ModelStore
from holdfast.errors import HoldfastError
from holdfast.images import ImageLimits, decode
from serving.jobs.commits import Claim, Outcome
from serving.jobs.kept import pack_images, pack_record
from serving.jobs.understanding import find_class

logger = logging.getLogger(__name__)

#: Models that a worker keeps open: jobs take turns, and each may be on another one.
_MOST_OPEN = 4


class ModelChangedError(HoldfastError):
    """The model is not the one that the job was submitted for."""


class Attacker:
    """Attacks the images of chunks with the models of a store.

    Args:
        store: Where the bundles are.
        threads: For one operator of a model.
        limits: Of one image; those under which the job was accepted, or wider.
    """

    def __init__(self, store: ModelStore, *, threads: int, limits: ImageLimits) -> None:
        self._store = store
        self._threads = threads
        self._limits = limits
        self._open: OrderedDict[tuple[str, str, str], tuple[Bundle, OnnxOracle]] = OrderedDict()

    def carry_out(self, claim: Claim, check: Callable[[], None]) -> Outcome:
        """Attack a chunk's images.

        Args:
            claim: The chunk.
            check: Called before each call of the model; what it raises ends the attack.

        Raises:
            HoldfastError: The model cannot be opened, or the attack cannot be run on it.
        """
        began = time.perf_counter()
        bundle, oracle = self._model(claim)
        images = np.stack([self._decode(row, bundle) for row in claim.images])
        labels = self._labels(claim, bundle, oracle, images)
        definition = find(claim.run.attack)
        parameters = definition.parameters.model_validate(json.loads(claim.run.parameters))

        result = attack(
            oracle,
            images,
            labels,
            parameters,
            eot=claim.run.eot,
            batch_size=len(images),
            check=check,
        )
        gathering = Gathering(Chosen(definition, parameters, eot=claim.run.eot), bundle.manifest)
        names = [row.name for row in claim.images]
        gathering.add(names, labels, images, result, [None] * len(names))
        wrong = [each.outcome == "wrong before" for each in gathering.results]
        return Outcome(
            record=pack_record(gathering.gathered()),
            pictures=pack_images(
                [row.image for row in claim.images],
                names,
                result.images,
                [not each for each in wrong],
                exact=claim.float_images,
            ),
            wrong_before=sum(wrong),
            fooled=sum(each.outcome == "fooled" for each in gathering.results),
            successes=sum(gathering.success),
            seconds=time.perf_counter() - began,
        )

    def _model(self, claim: Claim) -> tuple[Bundle, OnnxOracle]:
        run = claim.run
        key = (run.model, run.digest, run.defence)
        if key not in self._open:
            bundle = self._store.open(run.model, run.version)
            if bundle.manifest.digest != run.digest:
                raise ModelChangedError(
                    f"Model '{run.model}' version {run.version} has changed since the job was submitted.",
                    hint="Submit it again.",
                )
            self._open[key] = bundle, open_oracle(bundle, run.defence, threads=self._threads)
        self._open.move_to_end(key)
        while len(self._open) > _MOST_OPEN:
            self._open.popitem(last=False)
        return self._open[key]

    def _decode(self, row: object, bundle: Bundle) -> NDArray[np.float32]:
        content, spec = row.content, bundle.manifest.input  # type: ignore[attr-defined]
        if row.exact:  # type: ignore[attr-defined]
            return np.frombuffer(content, dtype=np.float32).reshape(spec.shape)
        return decode(bytes(content), spec, self._limits)

    def _labels(
        self, claim: Claim, bundle: Bundle, oracle: OnnxOracle, images: NDArray[np.float32]
    ) -> NDArray[np.int64]:
        if claim.labels == "model":
            return np.asarray(oracle.logits(images).argmax(axis=1), dtype=np.int64)
        found = [find_class(row.label, claim.labels, bundle.manifest) for row in claim.images]  # type: ignore[arg-type]
        if None in found:
            raise ModelChangedError(
                "An image's label is no class of the model.", hint="Submit the job again."
            )
        return np.asarray(found, dtype=np.int64)
