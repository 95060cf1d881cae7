"""``POST /v1/models/{model}[/versions/{version}]/classify``."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import ValidationError

from serving.gateway import problem_kinds
from serving.gateway.access import GatewayRoute, Handler, requires
from serving.gateway.body import Body
from serving.gateway.classification import choose_defence
from serving.gateway.disconnect import CancelOnDisconnect
from serving.gateway.observing import note_subject
from serving.gateway.openapi import CLASSIFY_BODY, problem_responses
from serving.gateway.problems import invalid_request
from serving.gateway.request_id import request_id_of
from serving.gateway.routing import route_key
from serving.gateway.schemas import Classification, ClassifyQuery
from serving.gateway.services import services_of
from serving.gateway.uploads import read_uploads


class ClassifyRoute(GatewayRoute):
    """FastAPI describes the operation from the function's signature, and does no more.

    Its machinery for parameters takes longer than decoding a small image does; there are two here, which one
    call of pydantic reads.
    """

    def handler(self) -> Handler:
        """What answers a request."""

        async def handle(request: Request) -> Response:
            try:
                options = ClassifyQuery.model_validate(dict(request.query_params))
            except ValidationError as error:
                errors = error.errors(include_url=False, include_context=False)
                raise invalid_request([{**each, "loc": ("query", *each["loc"])} for each in errors]) from None
            response: Response = await self.endpoint(request=request, options=options, **request.path_params)
            return response

        return handle


router = APIRouter(tags=["classify"], route_class=ClassifyRoute)

_PROBLEMS = problem_responses(*problem_kinds.OF_IMAGES_FOR_A_MODEL)

ModelName = Annotated[str, Path(description="The model's name.")]
Options = Annotated[ClassifyQuery, Query()]


@router.post(
    "/v1/models/{model}/classify",
    summary="Classify images with a model",
    response_model=Classification,
    response_description="One prediction for each image.",
    responses=_PROBLEMS,
    openapi_extra=CLASSIFY_BODY,
)
@requires("classify")
async def classify(request: Request, model: ModelName, options: Options) -> Response:
    """Classify one image or several, with the model's default version.

    Send an image as the body, images as the files of a form, or base64 in JSON. The answer has one prediction
    for each image, in the order of the request. Where one of several images cannot be used, none is
    classified, and the problem's `images` member names every bad one: an answer is never shorter than the
    request.
    """
    return await _classify(request, model, None, options)


@router.post(
    "/v1/models/{model}/versions/{version}/classify",
    summary="Classify images with one version of a model",
    response_model=Classification,
    response_description="One prediction for each image.",
    responses=_PROBLEMS,
    openapi_extra=CLASSIFY_BODY,
)
@requires("classify")
async def classify_with_version(
    request: Request,
    model: ModelName,
    version: Annotated[str, Path(description="The model's version.")],
    options: Options,
) -> Response:
    """Classify as above, with the version that is named and no other."""
    return await _classify(request, model, version, options)


async def _classify(request: Request, model: str, version: str | None, options: ClassifyQuery) -> Response:
    started = time.monotonic()
    services = services_of(request)
    settings = services.settings
    deadline = started + settings.deadline
    bundle = services.lifecycle.catalogue.find(model, version, key=route_key(request))
    defence = choose_defence(bundle, options.defence)
    note_subject(request.scope, bundle.name, bundle.version, defence)
    with services.admission.enter() as holding:
        body = Body(request, limit=settings.max_body_bytes, holding=holding)
        images = await read_uploads(request, body, max_images=settings.max_images, deadline=deadline)
        async with CancelOnDisconnect(request.receive):
            answer = await services.classifier.classify(
                bundle,
                images,
                defence=defence,
                top_k=options.top_k,
                started=started,
                deadline=deadline,
                request_id=request_id_of(request.scope),
            )
    return Response(answer.model_dump_json(exclude_none=True), media_type="application/json")
