"""What a server elsewhere answers, and what is wrong with it where it does not.

UnavailableError            see serving.backends.base
├── NotServedError          the server has no such model
├── OtherWeightsError       it has another model under that name
├── SilentError             it took a request and answered nothing
└── BatchFailedError        it failed on a whole batch
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from serving.backends.base import UnavailableError


class NotServedError(UnavailableError):
    """The server answers, but not for this model and version."""


class OtherWeightsError(UnavailableError):
    """The server has another model under this name and version than the store has."""


class SilentError(UnavailableError):
    """The server took a request and answered nothing."""


class BatchFailedError(UnavailableError):
    """The server failed on a whole batch, and whose fault it was cannot be told."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer to one request.

    Attributes:
        logits: float32 (n, classes).
        manifold: float32 (n,), where the model gives evidence.
        moved: float32 (n,), behind a defence that moves images.
        inference: Seconds that the model ran, as far as the server says.
        batch_size: Images that ran together, as far as it says.
    """

    logits: NDArray[np.float32]
    manifold: NDArray[np.float32] | None
    moved: NDArray[np.float32] | None
    inference: float
    batch_size: int
