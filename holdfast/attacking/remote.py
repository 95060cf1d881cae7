"""Attacks that another process carries out on request: what is asked and what is answered, with no pickle.

An order is JSON, which fits into a header beside the images' ``.npy``; an answer is JSON too, with its arrays
as one ``.npz`` in base64.
"""

from __future__ import annotations

import base64
import binascii
import time
import zipfile
from dataclasses import asdict
from io import BytesIO
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from holdfast.attacking.cost import Clock, Speed, measure
from holdfast.attacking.execution import Attacked, execute
from holdfast.attacking.tracing import Iterate, Trace
from holdfast.attacks.catalogue import find
from holdfast.attacks.flags import Flag
from holdfast.attacks.oracle import Array, Oracle, UnsupportedLossError
from holdfast.attacks.result import AttackResult
from holdfast.errors import HoldfastError, UsageError

#: The header that an order is in.
HEADER = "X-Holdfast-Attack"
#: Behind a model's name, the name of the workers that attack it. No model has capitals in its name.
SUFFIX = ".ATTACK"

_SCALARS = ("forwards", "backwards", "gradients", "zero_gradients", "unanswered", "seed", "seconds")
_ARRAYS = ("images", "success", "survives_rounding", "logits_before", "logits", "linf", "l2", "queries")


class RemoteOrder(BaseModel):
    """An attack to carry out, or a model to measure."""

    model_config = ConfigDict(extra="forbid")

    attack: Annotated[str | None, Field(description="Its name; none: measure the model's passes.")] = None
    parameters: Annotated[dict[str, Any], Field(description="All of them.")] = {}
    labels: Annotated[list[int] | None, Field(description="None: what the model says.")] = None
    trace: Annotated[int, Field(ge=0, le=1000)] = 0
    seconds: Annotated[float, Field(gt=0, description="Time until it is to be stopped.")]


class RemoteAnswerError(HoldfastError):
    """An answer is not what it should be."""


class _OutOfTimeError(Exception):
    """The order's time is over."""


def parse_order(text: str) -> RemoteOrder:
    """Read an order.

    Raises:
        UsageError: It is none.
    """
    try:
        return RemoteOrder.model_validate_json(text)
    except ValidationError as error:
        raise UsageError(f"The header {HEADER} holds no order: {error.errors()[0]['msg']}.") from None


def carry_out(
    oracle: Oracle, images: Array, order: RemoteOrder, *, clock: Clock = time.perf_counter
) -> dict[str, Any]:
    """Do what is ordered.

    Args:
        oracle: The model, behind the defence under attack.
        images: (n, channels, height, width) in [0, 1], as the oracle takes them.
        order: What to do.
        clock: What passes are measured by; see :func:`holdfast.attacking.cost.measure`.

    Returns:
        One member: ``speed``; ``attacked``; ``stopped``, the steps done and in all; ``not_applicable``, why.

    Raises:
        HoldfastError: The order cannot be carried out.
    """
    if order.attack is None:
        return {"speed": asdict(measure(oracle, images, clock=clock))}
    end = time.monotonic() + order.seconds
    steps = [0, 1]

    def report(done: int, total: int) -> None:
        steps[:] = done, total

    def check() -> None:
        if time.monotonic() > end:
            raise _OutOfTimeError

    try:
        parameters = find(order.attack).parameters.model_validate(order.parameters)
        labels = None if order.labels is None else np.asarray(order.labels, dtype=np.int64)
        found = execute(oracle, images, labels, parameters, trace=order.trace, progress=report, check=check)
    except _OutOfTimeError:
        return {"stopped": steps}
    except UnsupportedLossError as error:
        return {"not_applicable": str(error)}
    except ValueError as error:  # pydantic's among them
        raise UsageError(f"The order cannot be carried out: {error}") from None
    return {"attacked": pack(found)}


def read_speed(content: dict[str, Any]) -> Speed:
    """The speed in an answer.

    Raises:
        RemoteAnswerError: There is none.
    """
    try:
        speed = content["speed"]
        return Speed(float(speed["forward"]), float(speed["gradient"]), int(speed["batch_size"]))
    except (KeyError, TypeError, ValueError):
        raise RemoteAnswerError("The answer holds no speed.") from None


def pack(attacked: Attacked) -> dict[str, Any]:
    """What came of an attack, as JSON has it."""
    result, trace = attacked.result, attacked.trace
    arrays = {name: getattr(result, name) for name in _ARRAYS}
    arrays |= {"labels": attacked.labels, "fooled_by": result.fooled_by.astype(str)}
    if result.targets is not None:
        arrays["targets"] = result.targets
    if trace is not None and trace.iterates:
        arrays["trace_images"] = np.stack([each.image for each in trace.iterates])
        arrays["trace_logits"] = np.stack([each.logits for each in trace.iterates])
    buffer = BytesIO()
    np.savez(buffer, **arrays)
    return {
        **{name: getattr(result, name) for name in _SCALARS},
        "flags": [asdict(flag) for flag in result.flags],
        "arrays": base64.b64encode(buffer.getvalue()).decode(),
        "trace": None
        if trace is None
        else {
            "queries": trace.queries,
            "every": trace.every,
            "steps": [[each.query, each.loss] for each in trace.iterates],
        },
    }


def unpack(content: dict[str, Any]) -> Attacked:
    """The reverse of :func:`pack`, of an answer that another process gave.

    Raises:
        RemoteAnswerError: It is none.
    """
    try:
        packed = base64.b64decode(content["arrays"], validate=True)
        with np.load(BytesIO(packed), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        result = AttackResult(
            **{name: arrays[name] for name in _ARRAYS},
            **{name: content[name] for name in _SCALARS},
            targets=arrays.get("targets"),
            fooled_by=arrays["fooled_by"].astype(object),
            flags=[Flag(flag["name"], flag["meaning"]) for flag in content["flags"]],
        )
        return Attacked(result, arrays["labels"], _unpack_trace(content["trace"], arrays))
    except (KeyError, TypeError, ValueError, OSError, binascii.Error, zipfile.BadZipFile):
        raise RemoteAnswerError("The answer holds no result of an attack.") from None


def _unpack_trace(content: dict[str, Any] | None, arrays: dict[str, np.ndarray]) -> Trace | None:
    if content is None:
        return None
    iterates = [
        Iterate(int(query), arrays["trace_images"][place], arrays["trace_logits"][place], loss)
        for place, (query, loss) in enumerate(content["steps"])
    ]
    return Trace(int(content["queries"]), int(content["every"]), iterates)
