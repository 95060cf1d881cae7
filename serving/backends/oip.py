"""The Open Inference Protocol backend: the store's bundles, run by any server that speaks it over HTTP.

KServe, Triton, MLServer, TorchServe, another Holdfast: what a server calls its models and tensors, and
whether it takes them as bytes, it says itself; see :mod:`serving.backends.oip_plan`. Labels, thresholds and
temperature are the bundle's, so it must be the bundle's model: that is checked, when the gateway starts, by
comparing its logits with those of the bundle's own graph.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from holdfast.bundle import PREDICT, Bundle, ModelStore
from holdfast.manifest import Defence
from holdfast.oip.wire import HEADER_LENGTH, ProtocolError, read, write
from serving.backends.answer import Answer, BatchFailedError, NotServedError, OtherWeightsError, SilentError
from serving.backends.base import BackendError, InferenceError, OverloadedError, UnavailableError
from serving.backends.oip_plan import (
    ModelNames,
    OtherModelError,
    Plan,
    ServerDescription,
    offer,
    plan_for,
    remote_of,
)
from serving.backends.remote import RETRY_AFTER, RemoteBackend

logger = logging.getLogger(__name__)

#: Images that a server's logits are compared on, and how far they may differ, as a share of their range: what
#: half precision does to a network is a tenth of it, and another network differs by the whole.
_COMPARED, _TOLERANCE = 4, 0.05
#: Statuses of a server that does not know the address, or does not know it yet.
_UNKNOWN = frozenset({400, 404, 405, 501})


class OipBackend(RemoteBackend):
    """Serves those bundles of a store that a server of the Open Inference Protocol has.

    Args:
        store: See :class:`RemoteBackend`.
        url: The server's address, without ``/v2``.
        models: What the server calls a bundle's model, where it is not the bundle's own name.
        max_images: The most images in one request.
        key: Sent as ``Authorization: Bearer``, if there is one.
        headers: See :class:`RemoteBackend`.
        options: Further arguments of :class:`RemoteBackend`.
    """

    name = "oip"
    title = "The inference server"
    start_it = "HOLDFAST_OIP_URL says where it is expected."
    max_body = 32 * 1024 * 1024

    def __init__(
        self,
        store: ModelStore,
        url: str,
        *,
        models: ModelNames | None = None,
        max_images: int = 64,
        key: str = "",
        headers: Callable[[], Mapping[str, str]] = dict,
        **options: Any,
    ) -> None:
        self._authorization = {"Authorization": f"Bearer {key}"} if key else {}
        super().__init__(store, url, headers=lambda: {**headers(), **self._authorization}, **options)
        self.max_images = max_images
        self._models = models or {}
        self._plans: dict[tuple[str, str, Defence], Plan] = {}

    async def _meet(self, bundle: Bundle) -> Bundle:
        description = await self._get("/v2")
        server = ServerDescription.of(description if isinstance(description, dict) else {})
        plans: dict[Defence, Plan] = {}
        for defence in bundle.manifest.defences:
            try:
                plan = await self._plan(bundle, defence, server)
            except OtherModelError as error:
                raise OtherWeightsError(error.message, hint=error.hint) from None
            if plan is not None:
                plans[defence] = plan
        if "none" not in plans:
            raise NotServedError(
                f"The inference server does not serve {bundle.name} version {bundle.version}.",
                hint=f"HOLDFAST_OIP_MODELS says what it calls a model: {bundle.name}=ITS-NAME/ITS-VERSION.",
            )
        self._plans |= {(bundle.name, bundle.version, defence): plan for defence, plan in plans.items()}
        offered = offer(bundle, plans)
        await self._compare(offered)
        return offered

    async def _plan(self, bundle: Bundle, defence: Defence, server: ServerDescription) -> Plan | None:
        """How to ask for a defence; ``None`` if the server has it not."""
        remote = remote_of(bundle, defence, self._models, server)
        if remote is None:
            return None
        for version in remote.versions:
            path = f"/v2/models/{remote.name}" + (f"/versions/{version}" if version else "")
            metadata = await self._get(path)
            if metadata is None and server.gives_no_metadata and not version:
                metadata = {}
            if isinstance(metadata, dict) and (version or not metadata.get("versions")):
                return plan_for(bundle, path, metadata, server, remote.parameters, defence)
        return None

    async def _get(self, path: str) -> Any:
        """What an address answers, as JSON; ``None`` if the server does not know it.

        Raises:
            BackendError: There is no answer that can be used.
        """
        try:
            async with asyncio.timeout(self._patience):
                response = await self._connection.get(path)
        except TimeoutError:
            raise SilentError(
                f"The inference server at {self._connection.url} did not answer within {self._patience:g} s."
            ) from None
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"The inference server at {self._connection.url} cannot be reached ({type(error).__name__}).",
                hint=self.start_it,
            ) from None
        if response.is_success:
            try:
                return from_json(response.content or b"{}")
            except ValueError:
                return {}
        if response.status_code in _UNKNOWN:
            return None
        raise _error_of(response, path)

    async def _look(self, bundle: Bundle) -> None:
        """Ask whether the model is ready, where the server answers that, and then for a prediction."""
        plan, began = self._plans[bundle.name, bundle.version, "none"], time.monotonic()
        try:
            await self._get(f"{plan.path}/ready")
        except BackendError as error:
            self._failed(bundle, error, began)
            raise
        await super()._look(bundle)

    async def _compare(self, bundle: Bundle) -> None:
        """See to it that the server's model is the bundle's.

        Raises:
            BackendError: It is another one, or does not answer.
        """
        shape = (_COMPARED, *bundle.manifest.input.shape)
        images = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
        try:
            expected = await asyncio.to_thread(_run_here, bundle, images)
        except ImportError:
            logger.warning("ONNX Runtime is not installed: the server's models were not compared with ours")
            return
        try:
            answer = await self._call(bundle, images, "none")
        except InferenceError as error:
            raise OtherWeightsError(f"{bundle.name} version {bundle.version}: {error.message}") from None
        difference = float(np.abs(answer.logits - expected).max())
        spread = float(np.ptp(expected))
        if not difference <= _TOLERANCE * max(spread, 1e-3):
            raise OtherWeightsError(
                f"The inference server has another model as {bundle.name} version {bundle.version} than the "
                f"store: their logits differ by {difference:.3g}, and range over {spread:.3g}.",
                hint="Give it the bundle's predict.onnx, or name its right model in HOLDFAST_OIP_MODELS.",
            )

    def _write(self, bundle: Bundle, images: NDArray[np.float32], defence: Defence) -> httpx.Request:
        plan = self._plans[bundle.name, bundle.version, defence]
        content: dict[str, Any] = {}
        if request_id := self._connection.headers().get("X-Request-Id"):
            content["id"] = request_id
        if plan.parameters:
            content["parameters"] = dict(plan.parameters)
        if plan.listed:
            asked = {"parameters": {"binary_data": True}} if plan.binary else {}
            content["outputs"] = [{"name": name, **asked} for name in plan.outputs.values()]
        tensors = {plan.input: images}
        body, length = write(content, "inputs", tensors, [plan.input] if plan.binary else [])
        headers = {"Content-Type": "application/json"}
        if length is not None:
            headers = {"Content-Type": "application/octet-stream", HEADER_LENGTH: str(length)}
        return self._connection.request("POST", f"{plan.path}/infer", body, headers)

    def _read(self, response: httpx.Response, bundle: Bundle, images: int, defence: Defence) -> Answer:
        if not response.is_success:
            raise _error_of(response, f"{bundle.name} version {bundle.version}")
        plan = self._plans[bundle.name, bundle.version, defence]
        try:
            message = read(response.content, response.headers.get(HEADER_LENGTH))
            given = {tensor.name: tensor for tensor in message.tensors("outputs")}
            names = {ours: theirs for ours, theirs in plan.outputs.items() if theirs in given}
            if "logits" not in names and len(given) == 1:
                names = {"logits": next(iter(given))}
            found = {ours: given[theirs].values().astype(np.float32) for ours, theirs in names.items()}
            logits = found["logits"].reshape(images, len(bundle.manifest.classes))
            others = {name: found[name].reshape(images) for name in ("manifold", "moved") if name in found}
        except (ProtocolError, KeyError, ValueError, TypeError) as error:
            reason = error.message if isinstance(error, ProtocolError) else "it has not the right outputs."
            raise UnavailableError(f"The inference server's answer cannot be used: {reason}") from None
        if not all(np.isfinite(values).all() for values in (logits, *others.values())):
            raise InferenceError("The model answered what is no finite number.")
        seconds = response.elapsed.total_seconds()
        return Answer(logits, others.get("manifold"), others.get("moved"), seconds, images)


def _run_here(bundle: Bundle, images: NDArray[np.float32]) -> NDArray[np.float32]:
    """The logits of the bundle's own graph."""
    from holdfast.sessions import open_session

    session = open_session(bundle, PREDICT, threads=1)
    logits: NDArray[np.float32] = session.run(["logits"], {"images": images})[0]
    return logits


def _error_of(response: httpx.Response, what: str) -> BackendError:
    """The error that a status other than 2xx is. A server's own words are for the log, not for callers."""
    status = response.status_code
    logger.warning("The inference server answers %d for %s: %.500s", status, what, response.text)
    wait = response.headers.get("Retry-After", "")
    seconds = min(float(wait), 60.0) if wait.isascii() and wait.isdigit() else RETRY_AFTER
    if status == httpx.codes.TOO_MANY_REQUESTS or (status == httpx.codes.SERVICE_UNAVAILABLE and wait):
        return OverloadedError("The inference server is busy.", retry_after=seconds)
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return UnavailableError(
            "The inference server does not let this gateway in.", hint="HOLDFAST_OIP_KEY is the key for it."
        )
    if status in (httpx.codes.NOT_FOUND, httpx.codes.NOT_IMPLEMENTED):
        return NotServedError(f"The inference server does not serve {what} any more.")
    if status == httpx.codes.INTERNAL_SERVER_ERROR:
        return BatchFailedError("The inference server failed on the images; its log says why.")
    if status > httpx.codes.INTERNAL_SERVER_ERROR:
        return UnavailableError(f"The inference server cannot answer (status {status}).")
    return InferenceError(f"The inference server refused the images (status {status}); its log says why.")
