"""What TorchServe runs for every model of Holdfast: requests in, answers out, each on its own.

``holdfast archive`` packs this file into the .mar; it needs PyTorch and the ``holdfast`` package only.

A request's body is one image (PNG, JPEG or WebP), answered with its class, or a batch of images as ``.npy``,
answered with their logits. Requests that TorchServe batched run together; one that cannot be used is
answered by itself, with its own status and an RFC 9457 problem, and the others never notice.
"""

from __future__ import annotations

import json
import logging
import time
import warnings
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from holdfast import images, npy
from holdfast.archive import check_directory
from holdfast.bundle import MANIFEST, TORCHSCRIPT, read_manifest
from holdfast.errors import HoldfastError, UsageError

if TYPE_CHECKING:
    from ts.context import Context

logger = logging.getLogger(__name__)

#: Images in one request.
MAX_IMAGES = 1024
#: Images that run through the network at once: what bounds the memory that a request can take.
MAX_BATCH = 128

#: The status of each thing that can be wrong with a request, the first that fits; the gateway's are the same.
STATUSES: tuple[tuple[type[HoldfastError], HTTPStatus], ...] = (
    (images.TooManyBytesError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (images.TooManyPixelsError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (images.UnsupportedFormatError, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (images.ImageError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (npy.ArrayError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (HoldfastError, HTTPStatus.BAD_REQUEST),
)

#: What a request is told whose images the network answers with what is no number.
BROKEN = HoldfastError("The model failed on these images: its answer is no finite number.")


class HoldfastHandler:
    """TorchServe makes one per worker process, calls :meth:`initialize` once and :meth:`handle` per batch.

    It must stay the only class in this file: that is how TorchServe finds it.
    """

    def initialize(self, context: Context) -> None:
        """Verify the unpacked archive, then load the network and run it once.

        Raises:
            HoldfastError: The archive is damaged. The worker ends, with the message in TorchServe's log.
        """
        properties = context.system_properties
        directory = Path(properties["model_dir"])
        # TorchScript is a program: nothing of it is read before its hash has been compared.
        self.record = check_directory(directory, (TORCHSCRIPT, MANIFEST))
        self.manifest = read_manifest(directory)
        gpu = properties.get("gpu_id")
        on_gpu = gpu is not None and torch.cuda.is_available()
        self.device = torch.device(f"cuda:{gpu}" if on_gpu else "cpu")
        with warnings.catch_warnings():
            # TorchScript is deprecated upstream; TorchServe 0.12 knows no format that replaces it.
            warnings.filterwarnings("ignore", message=r"`torch\.jit\.")
            network = torch.jit.load(directory / TORCHSCRIPT, map_location=self.device)  # type: ignore[no-untyped-call]
        self.network = network.eval()
        for size in (1, 2, 2):  # TorchScript optimises on its first runs, for one image and for several
            self.predict(np.zeros((size, *self.manifest.input.shape), dtype=np.float32))
        logger.info("Loaded %s version %s on %s", self.record.name, self.record.version, self.device)

    def handle(self, requests: list[dict[str, Any]], context: Context) -> list[str]:
        """Answer each request of a batch.

        Args:
            requests: The bodies, by field name.
            context: Takes each answer's status and content type.

        Returns:
            One JSON document per request, in their order.
        """
        problems: dict[int, HoldfastError] = {}
        batches: dict[int, NDArray[np.float32]] = {}
        for index, request in enumerate(requests):
            try:
                batches[index] = self.read(request, explain=is_explanation(context, index))
            except HoldfastError as error:
                problems[index] = error
        answers = self.answer(requests, batches, context) if batches else {}
        problems |= {index: BROKEN for index in batches if index not in answers}
        return [
            refuse(problems[index], context, index) if index in problems else answers[index]
            for index in range(len(requests))
        ]

    def read(self, request: dict[str, Any], *, explain: bool) -> NDArray[np.float32]:
        """The images of one request, float32 (n, channels, height, width).

        Raises:
            HoldfastError: They cannot be used.
        """
        if explain:
            raise UsageError("Explanations are not offered.", hint="Ask /predictions instead.")
        body = find_body(request)
        if body.startswith(npy.MAGIC):
            return npy.decode(body, self.manifest.input, max_images=MAX_IMAGES)
        return images.decode(bytes(body), self.manifest.input)[None]

    def answer(
        self, requests: list[dict[str, Any]], batches: dict[int, NDArray[np.float32]], context: Context
    ) -> dict[int, str]:
        """Run the images of all usable requests together and write each request's answer.

        A request whose logits are not finite numbers gets none.
        """
        began = time.perf_counter()
        logits = self.predict(np.concatenate(list(batches.values())))
        about = {
            "model": self.record.name,
            "version": self.record.version,
            "weights": self.record.weights,
            "inference_seconds": round(time.perf_counter() - began, 6),
            "batch_size": len(logits),
        }
        answers, start = {}, 0
        for index, batch in batches.items():
            part = logits[start : start + len(batch)]
            start += len(batch)
            if not np.isfinite(part).all():
                continue
            if find_body(requests[index]).startswith(npy.MAGIC):
                content = {**about, "logits": part.tolist()}
            else:
                content = {**about, **describe(part[0], self.manifest.classes)}
            answers[index] = json.dumps(content)
            context.set_response_content_type(index, "application/json")
        return answers

    def predict(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """The logits, float32 (n, classes), of images, float32 (n, channels, height, width).

        Runs under ``no_grad``, not under ``inference_mode``, whose tensors can never take part in autograd:
        a defence that steps along the input's gradient turns it on again inside.
        """
        parts = []
        with torch.no_grad():
            for start in range(0, len(batch), MAX_BATCH):
                part = torch.tensor(batch[start : start + MAX_BATCH], device=self.device)
                parts.append(self.network(part).float().cpu())
        logits: NDArray[np.float32] = torch.cat(parts).numpy()
        return logits


def find_body(request: dict[str, Any]) -> bytes | bytearray:
    """The request's body, or the only field of its form.

    Raises:
        UsageError: There is none, or there are several.
    """
    fields = [value for value in request.values() if isinstance(value, bytes | bytearray)]
    if len(fields) != 1 or len(request) != 1:
        raise UsageError(
            "The request has no body of bytes, or a form of several fields; one image or one .npy is taken.",
            hint="Send the file itself, with its own Content-Type: curl -T image.png, or "
            "curl -H 'Content-Type: image/png' --data-binary @image.png",
        )
    return fields[0]


def describe(logits: NDArray[np.float32], classes: list[str]) -> dict[str, Any]:
    """One image's answer, as the gateway words it: its class, and every class's probability."""
    exponentials = np.exp(logits.astype(np.float64) - logits.max())
    probabilities = exponentials / exponentials.sum()
    best = int(probabilities.argmax())
    return {
        "label": classes[best],
        "class_index": best,
        "probability": float(probabilities[best]),
        "probabilities": {label: round(float(p), 6) for label, p in zip(classes, probabilities, strict=True)},
    }


def refuse(error: HoldfastError, context: Context, index: int) -> str:
    """Give request ``index`` its own status; return the RFC 9457 problem that is its body."""
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    if error is not BROKEN:
        status = next(status for kind, status in STATUSES if isinstance(error, kind))
    context.set_response_status(status.value, status.phrase, index)
    context.set_response_content_type(index, "application/problem+json")
    logger.info("Refused request %.128r: %s", request_id(context, index), error.message)
    problem = {"type": "about:blank", "title": status.phrase, "status": status.value}
    problem["detail"] = f"{error.message} {error.hint}".strip()
    return json.dumps(problem)


def is_explanation(context: Context, index: int) -> bool:
    """Whether the request came to ``/explanations``, which TorchServe hands to the same handler."""
    return str(context.get_all_request_header(index).get("explain")) == "True"


def request_id(context: Context, index: int) -> str:
    """The caller's X-Request-Id where it sent one, else TorchServe's own."""
    headers = context.get_all_request_header(index)
    sent = next((value for key, value in headers.items() if key.lower() == "x-request-id"), None)
    return str(sent or context.get_request_id(index))
