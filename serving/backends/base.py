"""The contract between the gateway and whatever runs the model.

The gateway decodes and resizes images itself and hands float32 arrays to every backend, so that all
backends see the same pixels; a backend answers logits. It knows nothing of HTTP.

    HoldfastError
    └── BackendError
        ├── UnknownModelError         the backend serves no model of this name
        ├── UnknownVersionError       it serves the model, in other versions
        ├── UnsupportedDefenceError   it serves the model, without this defence
        ├── OverloadedError           the queue is full; says when to come back
        ├── DeadlineExceededError     the caller's time ran out before there was an answer
        ├── UnavailableError          the backend cannot answer at the moment
        ├── InferenceError            the model ran and failed on these images
        └── ReloadUnsupportedError    it cannot take other models while it runs
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from holdfast.bundle import Bundle
from holdfast.errors import HoldfastError
from holdfast.manifest import Defence


class BackendError(HoldfastError):
    """A backend has no answer; the message is fit for the caller who asked."""


class UnknownModelError(BackendError):
    """The backend serves no model of this name."""


class UnknownVersionError(BackendError):
    """The backend serves the model, but not in this version."""


class UnsupportedDefenceError(BackendError):
    """The backend serves the model, but not with this defence."""


class OverloadedError(BackendError):
    """More work is waiting than may wait.

    Args:
        message: What is full.
        retry_after: Seconds after which the work that waits now should be done.
    """

    def __init__(self, message: str, *, retry_after: float = 1.0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class DeadlineExceededError(BackendError):
    """The caller's time ran out before there was an answer."""


class UnavailableError(BackendError):
    """The backend cannot answer at the moment; the same request may succeed later.

    Args:
        message: What is wrong with it.
        retry_after: Seconds after which to try again.
    """

    def __init__(self, message: str, *, retry_after: float = 1.0, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class InferenceError(BackendError):
    """The model failed on these images, or answered what is no number."""


class ReloadUnsupportedError(BackendError):
    """The backend cannot take other models while it runs."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A bundle of the store that is not served as it is now.

    Attributes:
        name: The model.
        version: Its version.
        error: Why not.
    """

    name: str
    version: str
    error: HoldfastError


@dataclass(frozen=True, slots=True)
class Reload:
    """What a look at the store brought; a bundle is written NAME/VERSION.

    Attributes:
        opened: Bundles that are new, or not the same as before.
        kept: Bundles that are served on as they were.
        withdrawn: Bundles that are no longer in the store, and no longer served.
        refused: Bundles that cannot be opened. One that was served before still is, as it was.
    """

    opened: tuple[str, ...]
    kept: tuple[str, ...]
    withdrawn: tuple[str, ...]
    refused: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Timings:
    """Where a prediction's time went.

    Attributes:
        queue: Seconds from the call until the model began.
        inference: Seconds the model ran for the batch that these images were part of.
        batch_size: Images in that batch, the ones of other callers included.
    """

    queue: float
    inference: float
    batch_size: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says about the images of one call, in their order.

    Attributes:
        logits: float32 (n, classes).
        manifold: float32 (n,), the model's manifold evidence, where it gives any; of the image as it came,
            before a defence moved it.
        timings: Where the time went.
        moved: float32 (n,), how far a defence moved each image, in image units; None without one.
    """

    logits: NDArray[np.float32]
    manifold: NDArray[np.float32] | None
    timings: Timings
    moved: NDArray[np.float32] | None = None


@runtime_checkable
class Backend(Protocol):
    """Something that runs models. All methods are called from one event loop.

    A backend owns its queue, its threads or connections, and the bundles that it opened.
    """

    @property
    def name(self) -> str:
        """What ``HOLDFAST_BACKEND`` calls it, e.g. ``onnxruntime``."""

    async def start(self) -> None:
        """Open what is to be served and warm it up; when this returns, the first request is a fast one.

        Raises:
            HoldfastError: Nothing can be served; the message says why.
        """

    async def close(self) -> None:
        """Finish what is running, refuse what is queued, give everything back. Safe to call twice."""

    async def ready(self) -> bool:
        """Whether a prediction asked for now can be expected to succeed. Answers at once, never raises."""

    def models(self) -> Sequence[Bundle]:
        """The bundles that are served, by name, oldest version first; empty before :meth:`start`."""

    async def reload(self) -> Reload:
        """Look at the store again. What is asked for meanwhile is answered, by the old models or the new.

        A bundle that cannot be opened, such as one that is half written, takes no other's place.

        Raises:
            ReloadUnsupportedError: The backend takes its models only when it starts.
            HoldfastError: The store cannot be read, or nothing in it can be served; all stays as it was.
        """

    async def predict(
        self,
        name: str,
        version: str | None,
        images: NDArray[np.float32],
        *,
        defence: Defence = "none",
        deadline: float | None = None,
    ) -> Prediction:
        """Classify images.

        A caller that is cancelled while its images are queued gives its place back.

        Args:
            name: The model.
            version: Its version; the newest if ``None``.
            images: float32 (n, channels, height, width) in [0, 1], n >= 1, as the bundle's input says.
            defence: A defence that the bundle offers.
            deadline: When the answer is of no more use, on the clock of ``time.monotonic()``.

        Raises:
            BackendError: One of its subclasses, see the module's docstring.
        """
