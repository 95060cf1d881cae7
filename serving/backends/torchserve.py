"""The TorchServe backend: the store's bundles, run by a TorchServe process that is reached over HTTP.

What TorchServe's own words are worth: its /ping answers while no worker does, a request to a worker that has
just died waits for the next one, a full queue says that there is no worker, and a stop resets connections.
See :mod:`serving.backends.remote` for what is made of it.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray

from holdfast import npy
from holdfast.bundle import WEIGHTS, Bundle
from holdfast.manifest import Defence
from serving.backends.answer import Answer, BatchFailedError, NotServedError, OtherWeightsError
from serving.backends.base import BackendError, InferenceError, OverloadedError, UnavailableError
from serving.backends.remote import RETRY_AFTER, RemoteBackend

_PACK_AGAIN = "Make it again with: holdfast archive {name}/{version} --force, then restart TorchServe."


class TorchServeBackend(RemoteBackend):
    """Serves those bundles of a store that TorchServe has archives of."""

    name = "torchserve"
    title = "TorchServe"
    start_it = "Start it with: holdfast torchserve"
    #: TorchServe's own limit of a request's body is 6,553,500 bytes unless it is told otherwise.
    max_body = 6_000_000

    def _write(self, bundle: Bundle, images: NDArray[np.float32], defence: Defence) -> httpx.Request:
        headers = {"Content-Type": npy.MEDIA_TYPE, "X-Holdfast-Defence": defence}
        path = f"/predictions/{bundle.name}/{bundle.version}"
        return self._connection.request("POST", path, npy.encode(images), headers)

    def _read(self, response: httpx.Response, bundle: Bundle, images: int, defence: Defence) -> Answer:
        if response.status_code != httpx.codes.OK:
            raise _error_of(response, bundle)
        try:
            content: dict[str, Any] = json.loads(response.content)
            logits = np.asarray(content["logits"], dtype=np.float32)
            manifold, moved = (
                np.asarray(content[name], dtype=np.float32) if name in content else None
                for name in ("manifold", "moved")
            )
            weights = content["weights"]
            seconds, batch_size = float(content["inference_seconds"]), int(content["batch_size"])
            answer = Answer(logits, manifold, moved, seconds, batch_size)
        except (ValueError, TypeError, KeyError):
            raise UnavailableError(
                "TorchServe's answer is not one of Holdfast's handler.",
                hint="It must serve archives made by 'holdfast archive'.",
            ) from None
        if content.get("defence") != defence:
            raise UnavailableError(f"TorchServe answered for another defence than {defence}.")
        if weights != bundle.manifest.files[WEIGHTS].sha256:
            raise OtherWeightsError(
                f"TorchServe serves other weights as {bundle.name} version {bundle.version} than the store "
                "has.",
                hint=_PACK_AGAIN.format(name=bundle.name, version=bundle.version),
            )
        if logits.shape != (images, len(bundle.manifest.classes)) or not np.isfinite(logits).all():
            raise InferenceError("TorchServe's answer has the wrong shape or is no finite number.")
        return answer


def _error_of(response: httpx.Response, bundle: Bundle) -> BackendError:
    """The error that a status other than 200 is."""
    status = response.status_code
    if status == httpx.codes.NOT_FOUND:
        return NotServedError(
            f"TorchServe does not serve {bundle.name} version {bundle.version}.",
            hint=f"Archive it with: holdfast archive {bundle.name}/{bundle.version}",
        )
    if status == httpx.codes.SERVICE_UNAVAILABLE and _type_of(response) == "ServiceUnavailableException":
        # Its message blames missing workers, but this is what a full queue is answered with.
        return OverloadedError("TorchServe's queue is full.", retry_after=RETRY_AFTER)
    if status == httpx.codes.SERVICE_UNAVAILABLE:
        return BatchFailedError("TorchServe failed on the batch that the images were in; its log says why.")
    if status >= httpx.codes.INTERNAL_SERVER_ERROR:
        # 500 and 507: the worker died, or there is no memory for what was asked.
        return UnavailableError(f"TorchServe's worker failed (status {status}); it is being restarted.")
    return InferenceError(f"TorchServe refused the images (status {status}); its log says why.")


def _type_of(response: httpx.Response) -> str:
    try:
        return str(json.loads(response.content)["type"])
    except (ValueError, TypeError, KeyError):
        return ""
