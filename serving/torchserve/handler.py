"""What TorchServe runs for every model of Holdfast: requests in, answers out, each on its own.

``holdfast archive`` packs this file into the .mar; it needs PyTorch and the ``holdfast`` package only.

A request's body is one image (PNG, JPEG or WebP), answered with its class; the same as base64 in JSON; a
batch of images as ``.npy``, answered with their logits; or a request of the Open Inference Protocol, answered
by it. The header ``X-Holdfast-Defence``, or the member ``defence`` of the JSON, names a defence that the
model offers. Requests that TorchServe batched run together, those of one defence at a time; one that cannot
be used is answered by itself, with its own status and a problem, and the others never notice.

The same file runs in a model's workers for attacks, which ``holdfast torchserve`` starts beside those that
classify. There a batch of images comes with an order in the header ``X-Holdfast-Attack``
(:mod:`holdfast.attacking.remote`), and is answered with what came of the attack.
"""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import time
import warnings
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from holdfast import images, npy
from holdfast.archive import check_directory
from holdfast.attacking import remote
from holdfast.attacking.cost import cpu_clock
from holdfast.attacking.torch_oracles import open_torch_oracle
from holdfast.bundle import MANIFEST, TORCHSCRIPT, read_manifest
from holdfast.errors import HoldfastError, UsageError
from holdfast.manifest import Defence, Manifest
from holdfast.manifold import classify_transformed
from holdfast.oip import classifier as oip
from holdfast.oip import wire
from holdfast.probabilities import probabilities

if TYPE_CHECKING:
    from ts.context import Context

logger = logging.getLogger(__name__)

#: Images in one request.
MAX_IMAGES = 1024
#: Images that run through the network at once: what bounds the memory that a request can take.
MAX_BATCH = 128

#: Names the defence, for bodies that are not JSON.
DEFENCE_HEADER = "x-holdfast-defence"

#: How far workers for attacks stand back behind those that classify: a tenth of a core that both want.
NICENESS = 10

#: The status of each thing that can be wrong with a request, the first that fits; the gateway's are the same.
STATUSES: tuple[tuple[type[HoldfastError], HTTPStatus], ...] = (
    (images.TooManyBytesError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (images.TooManyPixelsError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (images.UnsupportedFormatError, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (wire.TooManyValuesError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
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
        self.attacks = str(context.model_name).endswith(remote.SUFFIX)
        if self.attacks:
            with suppress(OSError, AttributeError):
                os.nice(NICENESS)
        gpu = properties.get("gpu_id")
        on_gpu = gpu is not None and torch.cuda.is_available()
        self.device = torch.device(f"cuda:{gpu}" if on_gpu else "cpu")
        with warnings.catch_warnings():
            # TorchScript is deprecated upstream; TorchServe 0.12 knows no format that replaces it.
            warnings.filterwarnings("ignore", message=r"`torch\.jit\.")
            network = torch.jit.load(directory / TORCHSCRIPT, map_location=self.device)  # type: ignore[no-untyped-call]
        self.network = network.eval()
        for size in (1, 2, 2):  # TorchScript optimises on its first runs, for one image and for several
            for defence in self.manifest.defences:
                self.predict(np.zeros((size, *self.manifest.input.shape), dtype=np.float32), defence)
        logger.info("Loaded %s version %s on %s", self.record.name, self.record.version, self.device)

    def handle(self, requests: list[dict[str, Any]], context: Context) -> list[str | bytes]:
        """Answer each request of a batch.

        Args:
            requests: The bodies, by field name.
            context: Takes each answer's status and content type.

        Returns:
            One JSON document per request, in their order; of the Open Inference Protocol, maybe with bytes.
        """
        problems: dict[int, HoldfastError] = {}
        inferences: dict[int, oip.Asked] = {}
        batches: dict[int, NDArray[np.float32]] = {}
        groups: dict[Defence, list[int]] = {}
        arrays: set[int] = set()
        protocol: set[int] = set()
        answers: dict[int, str | bytes] = {}
        for index, request in enumerate(requests):
            try:
                if (order := header_of(context, index, remote.HEADER.lower())) is not None:
                    answers[index] = self.attack(request, order, context, index)
                    continue
                asked: str | None
                length = header_of(context, index, wire.HEADER_LENGTH.lower())
                if is_inference(request, length):
                    protocol.add(index)
                    inferences[index] = self.read_inference(find_body(request), length)
                    batches[index], asked = inferences[index].images, inferences[index].defence
                else:
                    body, asked = read_body(request, header_of(context, index, DEFENCE_HEADER))
                    batches[index] = self.read(body, explain=is_explanation(context, index))
                    if body.startswith(npy.MAGIC):
                        arrays.add(index)
                groups.setdefault(self.choose(asked), []).append(index)
            except HoldfastError as error:
                problems[index] = error
        for defence, group in groups.items():
            usable = {index: batches[index] for index in group}
            answers |= self.answer(usable, arrays, inferences, defence, context)
        problems |= {index: BROKEN for group in groups.values() for index in group if index not in answers}
        return [
            refuse(problems[index], context, index, protocol=index in protocol)
            if index in problems
            else answers[index]
            for index in range(len(requests))
        ]

    def attack(self, request: dict[str, Any], text: str, context: Context, index: int) -> str:
        """Carry out an order for an attack; return its answer.

        Raises:
            HoldfastError: This worker attacks nothing, or the order cannot be carried out.
        """
        if not self.attacks:
            raise UsageError(
                "This worker classifies, and attacks nothing.",
                hint=f"Send orders to the model {self.record.name}{remote.SUFFIX}.",
            )
        order = remote.parse_order(text)
        defence = self.choose(header_of(context, index, DEFENCE_HEADER))
        batch = npy.decode(find_body(request), self.manifest.input, max_images=MAX_IMAGES)
        attacked = torch.tensor(np.clip(batch, 0, 1), device=self.device)
        oracle = open_torch_oracle(self.network, self.manifest, defence)
        on_cpu = self.device.type == "cpu"
        clock = cpu_clock(torch.get_num_threads()) if on_cpu else time.perf_counter
        found = remote.carry_out(oracle, attacked, order, clock=clock)
        context.set_response_content_type(index, "application/json")
        return json.dumps({**self.about(defence), **found})

    def choose(self, asked: str | None) -> Defence:
        """The defence that was asked for; the model's first where none was, or ``default``.

        Raises:
            UsageError: The model does not offer it.
        """
        offered = self.manifest.defences
        if asked in (None, "default"):
            return offered[0]
        for defence in offered:
            if asked == defence:
                return defence
        raise UsageError(
            f"The model does not offer the defence '{str(asked)[:40]}'.",
            hint=f"It offers: {', '.join(offered)}.",
        )

    def read(self, body: bytes | bytearray, *, explain: bool) -> NDArray[np.float32]:
        """The images of one request's body, float32 (n, channels, height, width).

        Raises:
            HoldfastError: They cannot be used.
        """
        if explain:
            raise UsageError("Explanations are not offered.", hint="Ask /predictions instead.")
        if body.startswith(npy.MAGIC):
            return npy.decode(body, self.manifest.input, max_images=MAX_IMAGES)
        return images.decode(bytes(body), self.manifest.input)[None]

    def read_inference(self, body: bytes | bytearray, header_length: str | None) -> oip.Asked:
        """What a request of the Open Inference Protocol asks for.

        Raises:
            HoldfastError: It cannot be used.
        """
        most = oip.max_values(self.manifest, MAX_IMAGES)
        message = wire.read(bytes(body), header_length, max_values=most)
        return oip.read_request(message, self.manifest, max_images=MAX_IMAGES)

    def answer(
        self,
        batches: dict[int, NDArray[np.float32]],
        arrays: set[int],
        inferences: dict[int, oip.Asked],
        defence: Defence,
        context: Context,
    ) -> dict[int, str | bytes]:
        """Run the images of all usable requests of one defence together and write each request's answer.

        Those in ``arrays`` are answered with logits, those in ``inferences`` with what they ask for, and the
        others with their image's class. A request whose logits are not finite numbers gets no answer.
        """
        began = time.perf_counter()
        found = self.predict(np.concatenate(list(batches.values())), defence)
        about = {
            **self.about(defence),
            "inference_seconds": round(time.perf_counter() - began, 6),
            "batch_size": len(found["logits"]),
        }
        answers: dict[int, str | bytes] = {}
        start = 0
        for index, batch in batches.items():
            part = {name: values[start : start + len(batch)] for name, values in found.items()}
            start += len(batch)
            if not all(np.isfinite(values).all() for values in part.values()):
                continue
            count_verdicts(part, self.manifest, defence, context)
            if index in inferences:
                answers[index], headers = oip.answer(
                    self.manifest, inferences[index], defence=defence, **part
                )
                context.set_response_content_type(index, headers.pop("Content-Type"))
                for name, value in headers.items():
                    context.set_response_header(index, name, value)
                continue
            if index in arrays:
                content = {**about, **{name: values.tolist() for name, values in part.items()}}
            else:
                content = {**about, **describe(part, self.manifest)}
            answers[index] = json.dumps(content)
            context.set_response_content_type(index, "application/json")
        return answers

    def about(self, defence: Defence) -> dict[str, Any]:
        """What every answer says of the model."""
        return {
            "model": self.record.name,
            "version": self.record.version,
            "weights": self.record.weights,
            "defence": defence,
        }

    def predict(
        self, batch: NDArray[np.float32], defence: Defence = "none"
    ) -> dict[str, NDArray[np.float32]]:
        """Run the network on images, float32 (n, channels, height, width), behind a defence.

        Runs under ``no_grad``, not under ``inference_mode``, whose tensors can never take part in autograd:
        IMT, which steps along the input's gradient, turns it on again inside.

        Returns:
            ``logits`` (n, classes); ``manifold`` (n,) where the model gives evidence; ``moved`` (n,) behind
            IMT and IMT+: how far each image was moved. The names are those of a prediction's members.
        """
        parts = []
        with torch.no_grad():
            for start in range(0, len(batch), MAX_BATCH):
                images = torch.tensor(batch[start : start + MAX_BATCH], device=self.device)
                parts.append(self.run(images, defence))
        return {name: torch.cat([part[name].float().cpu() for part in parts]).numpy() for name in parts[0]}

    def run(self, images: torch.Tensor, defence: Defence) -> dict[str, torch.Tensor]:
        """See :meth:`predict`; of images that fit into memory at once."""
        manifold, imt = self.manifest.manifold, self.manifest.imt
        if defence != "none" and imt is not None:
            halved = imt.halved if defence == "imt+" else None
            logits, found = classify_transformed(self.network, images, epsilon=imt.epsilon, halved=halved)
            return {"logits": logits, "manifold": torch.sigmoid(found.logit), "moved": found.step}
        logits = self.network(images)
        if manifold is None:
            return {"logits": logits}
        if manifold.evidence == "discriminator":
            return {"logits": logits, "manifold": torch.sigmoid(self.network.manifold_logit(images))}
        scale = float(self.manifest.architecture.arguments.get("scale", 1.0))
        return {"logits": logits, "manifold": logits.amax(1) / scale}


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


def read_body(request: dict[str, Any], header: str | None) -> tuple[bytes | bytearray, str | None]:
    """The image or the array in a request, and the defence that it asks for.

    Raises:
        UsageError: There is no body, or its JSON cannot be used.
    """
    body = find_body(request)
    if body.lstrip()[:1] != b"{":
        return body, header
    try:
        content = json.loads(body)
        image, defence = content["image"], content.get("defence", header)
        unknown = set(content) - {"image", "defence"}
        if unknown or not isinstance(image, str) or not isinstance(defence, str | None):
            raise ValueError
        return base64.b64decode(image, validate=True), defence
    except (ValueError, KeyError, binascii.Error, RecursionError):
        raise UsageError(
            "The JSON is not one image with, if wished, a defence.",
            hint='Send {"image": "<base64>", "defence": "imt+"}.',
        ) from None


def is_inference(request: dict[str, Any], header_length: str | None) -> bool:
    """Whether a request speaks the Open Inference Protocol."""
    if header_length is not None:
        return True
    body = find_body(request)
    return body.lstrip()[:1] == b"{" and b'"inputs"' in body


def describe(found: dict[str, NDArray[np.float32]], manifest: Manifest) -> dict[str, Any]:
    """One image's answer, as the gateway words it: its class, every class's probability, the evidence."""
    temperature = 1.0 if manifest.calibration is None else manifest.calibration.temperature
    chances = probabilities(found["logits"][0], temperature)
    best = int(chances.argmax())
    answer: dict[str, Any] = {
        "label": manifest.classes[best],
        "class_index": best,
        "probability": float(chances[best]),
        "probabilities": {
            label: round(float(p), 6) for label, p in zip(manifest.classes, chances, strict=True)
        },
    }
    if manifest.manifold is not None and "manifold" in found:
        score = float(found["manifold"][0])
        answer["manifold"] = {
            "score": round(score, 6),
            "evidence": manifest.manifold.evidence,
            "verdict": manifest.manifold.verdict(score),
        }
        if "moved" in found:
            answer["manifold"]["moved"] = round(float(found["moved"][0]), 6)
    return answer


def count_verdicts(
    found: dict[str, NDArray[np.float32]], manifest: Manifest, defence: Defence, context: Context
) -> None:
    """Count the verdicts on a request's images in TorchServe's metrics."""
    if manifest.manifold is None or "manifold" not in found or context.metrics is None:
        return
    from ts.metrics.dimension import Dimension

    for score in found["manifold"].tolist():
        dimensions = [Dimension("Verdict", manifest.manifold.verdict(score)), Dimension("Defence", defence)]
        context.metrics.add_counter("ManifoldVerdicts", 1, dimensions=dimensions)


def refuse(error: HoldfastError, context: Context, index: int, *, protocol: bool) -> str:
    """Give request ``index`` its own status; return its body, a problem by RFC 9457 or by the protocol."""
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    if error is not BROKEN:
        status = next(status for kind, status in STATUSES if isinstance(error, kind))
    if protocol and status is HTTPStatus.UNPROCESSABLE_ENTITY:
        status = HTTPStatus.BAD_REQUEST
    context.set_response_status(status.value, status.phrase, index)
    context.set_response_content_type(index, "application/json" if protocol else "application/problem+json")
    logger.info("Refused request %.128r: %s", request_id(context, index), error.message)
    detail = f"{error.message} {error.hint}".strip()
    problem = {"type": "about:blank", "title": status.phrase, "status": status.value, "detail": detail}
    return json.dumps({"error": detail} if protocol else problem)


def is_explanation(context: Context, index: int) -> bool:
    """Whether the request came to ``/explanations``, which TorchServe hands to the same handler."""
    return str(context.get_all_request_header(index).get("explain")) == "True"


def header_of(context: Context, index: int, name: str) -> str | None:
    """The value of a request's header, by its name in small letters."""
    headers = context.get_all_request_header(index)
    return next((str(value) for key, value in headers.items() if key.lower() == name), None)


def request_id(context: Context, index: int) -> str:
    """The caller's X-Request-Id where it sent one, else TorchServe's own."""
    return header_of(context, index, "x-request-id") or str(context.get_request_id(index))
