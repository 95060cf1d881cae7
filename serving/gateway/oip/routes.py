"""``/v2``: what the server and its models are, whether they are ready, and inference."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import ValidationError

from holdfast.bundle import Bundle
from holdfast.oip import classifier as protocol
from holdfast.oip.wire import BINARY_EXTENSION, HEADER_LENGTH, read
from holdfast.version import __version__
from serving.gateway import problem_kinds
from serving.gateway.access import GatewayRoute, Handler, requires
from serving.gateway.body import Body
from serving.gateway.classification import choose_defence
from serving.gateway.disconnect import CancelOnDisconnect
from serving.gateway.observing import note_subject
from serving.gateway.oip.description import INDEX_BODY, INFER_ANSWER, INFER_BODY, error_responses
from serving.gateway.oip.schemas import (
    Live,
    ModelMetadata,
    ModelReady,
    Ready,
    RepositoryEntry,
    RepositoryIndexRequest,
    ServerMetadata,
)
from serving.gateway.problems import Problem
from serving.gateway.routes.health import demand_alive, demand_ready
from serving.gateway.routing import route_key
from serving.gateway.services import services_of
from serving.gateway.uploads import arriving

EXTENSIONS = [BINARY_EXTENSION, protocol.DEFENCE_EXTENSION]

#: A number that JSON is read into takes its object and a place in a list; so much of the memory for requests
#: may be a single one's.
_BYTES_PER_VALUE, _SHARE = 32, 4

_INDEX_BYTES = 4096

router = APIRouter(prefix="/v2", tags=["open inference protocol"], route_class=GatewayRoute)

_ERRORS = error_responses(problem_kinds.INTERNAL_ERROR)
_READY_ERRORS = error_responses(problem_kinds.INTERNAL_ERROR, problem_kinds.NOT_READY)
_MODEL_ERRORS = error_responses(
    problem_kinds.UNKNOWN_MODEL,
    problem_kinds.UNKNOWN_VERSION,
    problem_kinds.INTERNAL_ERROR,
    problem_kinds.NOT_READY,
)
_INDEX_ERRORS = error_responses(
    problem_kinds.INVALID_REQUEST,
    problem_kinds.BODY_TIMEOUT,
    problem_kinds.TOO_MANY_BYTES,
    problem_kinds.UNSUPPORTED_ENCODING,
    problem_kinds.INTERNAL_ERROR,
    problem_kinds.NOT_READY,
    problem_kinds.OVERLOADED,
)
_INFER_ERRORS = error_responses(
    problem_kinds.MALFORMED_BODY,
    problem_kinds.INVALID_REQUEST,
    problem_kinds.DEFENCE_NOT_OFFERED,
    problem_kinds.UNKNOWN_MODEL,
    problem_kinds.UNKNOWN_VERSION,
    problem_kinds.BODY_TIMEOUT,
    problem_kinds.TOO_MANY_BYTES,
    problem_kinds.TOO_MANY_IMAGES,
    problem_kinds.UNSUPPORTED_ENCODING,
    problem_kinds.INTERNAL_ERROR,
    problem_kinds.INFERENCE_FAILED,
    problem_kinds.NOT_READY,
    problem_kinds.OVERLOADED,
    problem_kinds.BACKEND_UNAVAILABLE,
    problem_kinds.DEADLINE_EXCEEDED,
)

Model = Annotated[str, Path(description="The model's name.")]
Version = Annotated[str, Path(description="The model's version.")]


@router.get("", summary="What this server is", responses=_ERRORS)
@requires("any")
async def v2_server() -> ServerMetadata:
    """Its name, its version, and what it can do beyond the protocol's core.

    `binary_tensor_data`: tensors as bytes behind the JSON. `holdfast_defence`: the parameter `defence` of an
    inference.
    """
    return ServerMetadata(name="holdfast", version=__version__, extensions=EXTENSIONS)


@router.get("/health/live", summary="Is the server alive?", responses=_READY_ERRORS)
@requires("open")
async def v2_live(request: Request) -> Live:
    """As `/livez`."""
    demand_alive(services_of(request).lifecycle)
    return Live(live=True)


@router.get("/health/ready", summary="Can the server classify?", responses=_READY_ERRORS)
@requires("open")
async def v2_ready(request: Request) -> Ready:
    """As `/readyz`: 200 if it can, and 503 while it cannot."""
    await demand_ready(services_of(request).lifecycle)
    return Ready(ready=True)


@router.get("/models/{model}", summary="What a model takes and gives", responses=_MODEL_ERRORS)
@requires("classify")
async def v2_model(request: Request, model: Model) -> ModelMetadata:
    """The tensors of a model, and its classes and defences among the parameters."""
    return _describe(request, model, None)


@router.get(
    "/models/{model}/versions/{version}",
    summary="What a version of a model takes and gives",
    responses=_MODEL_ERRORS,
)
@requires("classify")
async def v2_model_version(request: Request, model: Model, version: Version) -> ModelMetadata:
    """The tensors of one version of a model."""
    return _describe(request, model, version)


@router.get("/models/{model}/ready", summary="Can a model classify?", responses=_MODEL_ERRORS)
@requires("classify")
async def v2_model_ready(request: Request, model: Model) -> ModelReady:
    """200 if it can, and 503 while it cannot."""
    return await _ready(request, model, None)


@router.get(
    "/models/{model}/versions/{version}/ready",
    summary="Can a version of a model classify?",
    responses=_MODEL_ERRORS,
)
@requires("classify")
async def v2_model_version_ready(request: Request, model: Model, version: Version) -> ModelReady:
    """200 if it can, and 503 while it cannot."""
    return await _ready(request, model, version)


@router.post(
    "/repository/index",
    summary="What is in the repository",
    responses=_INDEX_ERRORS,
    openapi_extra=INDEX_BODY,
)
@requires("classify")
async def v2_repository_index(request: Request) -> list[RepositoryEntry]:
    """Every version of every model that is served. Nothing is loaded or unloaded over this protocol."""
    services = services_of(request)
    lifecycle = services.lifecycle
    with services.admission.enter() as holding:
        body = Body(request, limit=_INDEX_BYTES, holding=holding)
        async with arriving(time.monotonic() + services.settings.deadline):
            content = await body.read()
    try:
        asked = RepositoryIndexRequest.model_validate_json(content.strip() or b"{}")
    except ValidationError:
        raise Problem(problem_kinds.INVALID_REQUEST, 'The body is to be empty, or {"ready": true}.') from None
    catalogue, ready = lifecycle.catalogue, await lifecycle.ready()
    if asked.ready and not ready:
        return []
    return [
        RepositoryEntry(
            name=bundle.name,
            version=bundle.version,
            state="READY" if ready else "UNAVAILABLE",
            reason="" if ready else lifecycle.describe(),
        )
        for bundle in catalogue.bundles
    ]


class InferRoute(GatewayRoute):
    """FastAPI describes the operation, and the body is read by hand: it may be bytes."""

    def handler(self) -> Handler:
        """What answers a request."""

        async def handle(request: Request) -> Response:
            response: Response = await self.endpoint(request=request, **request.path_params)
            return response

        return handle


inference = APIRouter(route_class=InferRoute)


@inference.post(
    "/models/{model}/infer",
    summary="Classify images",
    response_class=Response,
    responses={200: INFER_ANSWER, **_INFER_ERRORS},
    openapi_extra=INFER_BODY,
)
@requires("classify")
async def v2_infer(request: Request, model: Model) -> Response:
    """Classify images with a model's default version.

    One input, `images`: FP32 [n, channels, height, width], values in [0, 1]. The Content-Type is not looked
    at: the header Inference-Header-Content-Length alone says what of the body is JSON.
    """
    return await _infer(request, model, None)


@inference.post(
    "/models/{model}/versions/{version}/infer",
    summary="Classify images with one version of a model",
    response_class=Response,
    responses={200: INFER_ANSWER, **_INFER_ERRORS},
    openapi_extra=INFER_BODY,
)
@requires("classify")
async def v2_infer_with_version(request: Request, model: Model, version: Version) -> Response:
    """Classify as above, with the version that is named and no other."""
    return await _infer(request, model, version)


router.include_router(inference)


def _find(request: Request, model: str, version: str | None) -> Bundle:
    return services_of(request).lifecycle.catalogue.find(model, version, key=route_key(request))


def _describe(request: Request, model: str, version: str | None) -> ModelMetadata:
    bundle = _find(request, model, version)
    lifecycle = services_of(request).lifecycle
    platform = protocol.TORCHSCRIPT if lifecycle.backend.name == "torchserve" else protocol.ONNX
    versions = lifecycle.catalogue.versions(model)
    return ModelMetadata.model_validate(protocol.describe(bundle.manifest, versions, platform))


async def _ready(request: Request, model: str, version: str | None) -> ModelReady:
    bundle = _find(request, model, version)
    await demand_ready(services_of(request).lifecycle)
    return ModelReady(name=bundle.name, ready=True)


async def _infer(request: Request, model: str, version: str | None) -> Response:
    started = time.monotonic()
    services = services_of(request)
    settings = services.settings
    deadline = started + settings.deadline
    bundle = _find(request, model, version)
    manifest = bundle.manifest
    header_length = request.headers.get(HEADER_LENGTH)
    with services.admission.enter() as holding:
        body = Body(request, limit=settings.max_body_bytes, holding=holding)
        async with arriving(deadline):
            content = await body.read()
        most = min(
            protocol.max_values(manifest, settings.max_images),
            settings.max_memory // (_SHARE * _BYTES_PER_VALUE),
        )

        def parse() -> protocol.Asked:
            message = read(content, header_length, max_values=most)
            return protocol.read_request(message, manifest, max_images=settings.max_images)

        asked = await services.decoder.run(parse, size=len(content))
        defence = choose_defence(bundle, asked.defence)
        note_subject(request.scope, bundle.name, bundle.version, defence)
        async with CancelOnDisconnect(request.receive):
            prediction, _ = await services.classifier.predict(
                bundle, asked.images, defence=defence, top_k=1, deadline=deadline
            )
    answer, headers = protocol.answer(
        manifest,
        asked,
        defence=defence,
        logits=prediction.logits,
        manifold=prediction.manifold,
        moved=prediction.moved,
    )
    return Response(answer, headers=headers)
