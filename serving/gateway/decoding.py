"""From encoded images to the array that a model takes, without holding up the event loop."""

from __future__ import annotations

import asyncio
import binascii
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from holdfast.images import ImageError, ImageLimits, TooManyPixelsError, decode
from holdfast.manifest import InputSpec
from serving.backends.base import DeadlineExceededError
from serving.gateway.problem_kinds import BAD_BASE64, DAMAGED_IMAGE
from serving.gateway.problems import Problem
from serving.gateway.uploads import Encoded

#: An image this small is decoded in less time than it takes to hand it to a thread and back.
_SMALL = ImageLimits(max_bytes=32 * 1024, max_pixels=96 * 96)

T = TypeVar("T")


class Decoder:
    """Decodes images in threads of its own; small ones at once.

    Args:
        limits: What is accepted of an image.
        threads: Images decoded at the same time; this also bounds the memory that decoding takes.
    """

    def __init__(self, limits: ImageLimits, *, threads: int) -> None:
        self._limits = limits
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._small = ImageLimits(
            min(_SMALL.max_bytes, limits.max_bytes), min(_SMALL.max_pixels, limits.max_pixels)
        )

    async def decode(
        self, images: Sequence[Encoded], spec: InputSpec, *, deadline: float
    ) -> NDArray[np.float32]:
        """Decode all images of one request.

        Args:
            images: The encoded images, at least one.
            spec: The model's input.
            deadline: When the answer is of no more use, on the clock of ``time.monotonic()``.

        Returns:
            float32 (n, channels, height, width) in [0, 1].

        Raises:
            ImageError, Problem: An image cannot be used. Of several images all that cannot be are named.
            DeadlineExceededError: The deadline passed.
        """
        if len(images) == 1 and isinstance(images[0], bytes) and len(images[0]) <= self._small.max_bytes:
            try:
                return decode(images[0], spec, self._small)[np.newaxis]
            except TooManyPixelsError:
                pass  # for it to be small, or too many at all: its own thread finds out
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._decode_all, images, spec, deadline)

    async def run(self, function: Callable[[], T], *, size: int) -> T:
        """Call a function that reads ``size`` bytes: at once if they are few, else in a thread."""
        if size <= self._small.max_bytes:
            return function()
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)

    def close(self) -> None:
        """Stop the threads; what has not begun is dropped."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _decode_all(self, images: Sequence[Encoded], spec: InputSpec, deadline: float) -> NDArray[np.float32]:
        pixels = np.empty((len(images), *spec.shape), dtype=np.float32)
        failures: dict[int, Problem] = {}
        for index, encoded in enumerate(images):
            if time.monotonic() > deadline:
                raise DeadlineExceededError(
                    "The time for this request ran out while its images were decoded."
                )
            try:
                content = encoded if isinstance(encoded, bytes) else _from_base64(encoded)
                pixels[index] = decode(content, spec, self._limits)
            except Problem as problem:
                failures[index] = problem
            except ImageError as error:
                failures[index] = Problem.of(error) or Problem(DAMAGED_IMAGE, error.message)
        if failures:
            raise _combine(failures, len(images))
        return pixels


def _from_base64(text: str) -> bytes:
    """The bytes of a base64 string or a data URL; line breaks in it are passed over.

    Raises:
        Problem: It is neither.
    """
    if text[:5].lower() == "data:":
        header, comma, text = text.partition(",")
        if not comma or not header.lower().endswith(";base64"):
            raise Problem(
                BAD_BASE64, "A data URL of an image looks like data:image/png;base64,… and this does not."
            )
    try:
        return binascii.a2b_base64("".join(text.split()), strict_mode=True)
    except ValueError as error:  # binascii.Error, or a character outside ASCII
        reason = str(error).removesuffix(".")
        raise Problem(BAD_BASE64, f"The image is not base64: {reason[0].lower()}{reason[1:]}.") from None


def _combine(failures: dict[int, Problem], images: int) -> Problem:
    """One problem for the request: the first bad image's, with a list of all that are bad."""
    index, first = next(iter(failures.items()))
    if images == 1:
        return first
    more = f" {len(failures) - 1} more of the images cannot be used." if len(failures) > 1 else ""
    listed = [
        {"index": index, "type": problem.kind.type, "title": problem.kind.title, "detail": problem.detail}
        for index, problem in failures.items()
    ]
    detail = f"Image {index + 1} of {images}: {first.detail}{more} Nothing of this request was classified."
    return Problem(first.kind, detail, members={"images": listed})
