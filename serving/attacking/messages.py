"""What a gateway and its attack workers say to each other: pickled objects over the worker's pipes.

Both ends are the same program of the same user, the worker is the gateway's own child, and nothing of a
caller's goes over the pipe but arrays, names and validated parameters: that is why pickle may be used here.
"""

from __future__ import annotations

import pickle
import signal
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from holdfast.attacking.cost import Speed
from holdfast.attacking.execution import Attacked
from holdfast.attacks.parameters import AttackParameters
from holdfast.manifest import Defence

_LENGTH = struct.Struct(">Q")

#: What a worker does not hear: its gateway is told, finishes what is in flight, and ends the worker.
DEAF_TO = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class ModelKey:
    """A bundle as the gateway has opened it, behind one of its defences.

    Attributes:
        root: Its directory.
        digest: Of its manifest: the worker is to attack these files and no others.
        defence: What is attacked through.
    """

    root: Path
    digest: str
    defence: Defence


@dataclass(frozen=True)
class Measure:
    """Measure the model's passes; answered with a :class:`holdfast.attacking.cost.Speed`."""

    model: ModelKey


@dataclass(frozen=True)
class Attack:
    """Attack images; answered with an :class:`holdfast.attacking.execution.Attacked`."""

    model: ModelKey
    parameters: AttackParameters
    images: NDArray[np.float32]
    labels: NDArray[np.int64] | None
    trace: int


Job = Measure | Attack


@dataclass(frozen=True)
class Begin:
    """Do this. A worker has one job at a time."""

    number: int
    job: Job


@dataclass(frozen=True)
class Cancel:
    """Stop that job between two steps."""

    number: int


@dataclass(frozen=True)
class Progress:
    """How far a job is, in steps."""

    number: int
    done: int
    total: int


@dataclass(frozen=True)
class Failure:
    """Why there is no result.

    Attributes:
        kind: Whose fault it is: the job was stopped, the model cannot be attacked so, the bundle cannot be
            used, the model failed, or nobody foresaw it.
        message: For the caller; nothing internal.
        detail: For the log.
    """

    kind: Literal["stopped", "not-applicable", "bundle", "model", "unforeseen"]
    message: str
    detail: str = ""


@dataclass(frozen=True)
class Ended:
    """A job is over, and the worker is free."""

    number: int
    outcome: Speed | Attacked | Failure


def write(pipe: IO[bytes], message: object) -> None:
    """Write one message to an unbuffered pipe, whole.

    Raises:
        OSError: Nobody reads there any more.
    """
    content = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    rest = memoryview(_LENGTH.pack(len(content)) + content)
    while len(rest):
        rest = rest[pipe.write(rest) :]


def read(pipe: IO[bytes]) -> Any:
    """The next message; ``None`` where the other end is closed, in the middle of one too."""
    head = _read_exactly(pipe, _LENGTH.size)
    if head is None:
        return None
    content = _read_exactly(pipe, _LENGTH.unpack(head)[0])
    return None if content is None else pickle.loads(content)  # noqa: S301 - see the module's docstring


def _read_exactly(pipe: IO[bytes], size: int) -> bytes | None:
    content = bytearray()
    while len(content) < size:
        chunk = pipe.read(size - len(content))
        if not chunk:
            return None
        content += chunk
    return bytes(content)
