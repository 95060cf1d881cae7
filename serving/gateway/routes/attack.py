"""``POST /v1/models/{model}[/versions/{version}]/attack``."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from serving.attacking.base import Watcher
from serving.gateway import event_streams, problem_kinds
from serving.gateway.access import GatewayRoute, Handler, requires
from serving.gateway.attack import describing, streaming
from serving.gateway.attack.negotiation import choose_media_type
from serving.gateway.attack.request import AttackQuery, read_request
from serving.gateway.attack.schemas import AttackAnswer
from serving.gateway.body import Body
from serving.gateway.classification import choose_defence
from serving.gateway.disconnect import CancelOnDisconnect
from serving.gateway.observing import note_subject
from serving.gateway.openapi import problem_responses
from serving.gateway.request_id import request_id_of
from serving.gateway.routing import route_key
from serving.gateway.services import services_of

_JSON, _PNG = "application/json", "image/png"
_OFFERED = (_JSON, _PNG, event_streams.MEDIA_TYPE)


class AttackRoute(GatewayRoute):
    """FastAPI describes the operation from the function's signature, and does no more.

    What an attack may be given depends on the attack, and stands in the address, in a form or in JSON.
    """

    def handler(self) -> Handler:
        """What answers a request."""

        async def handle(request: Request) -> Response:
            response: Response = await self.endpoint(request=request, options=None, **request.path_params)
            return response

        return handle


router = APIRouter(tags=["attack"], route_class=AttackRoute)

_PROBLEMS = problem_responses(
    *problem_kinds.OF_IMAGES_FOR_A_MODEL,
    problem_kinds.NOT_ACCEPTABLE,
    problem_kinds.ATTACK_NOT_OFFERED,
    problem_kinds.ATTACK_NOT_APPLICABLE,
    problem_kinds.ATTACK_TOO_COSTLY,
    problem_kinds.UNKNOWN_CLASS,
    problem_kinds.ATTACK_INTERRUPTED,
)

ModelName = Annotated[str, Path(description="The model's name.")]
Options = Annotated[AttackQuery, Query()]


@router.post(
    "/v1/models/{model}/attack",
    summary="Attack an image on a model",
    response_model=AttackAnswer,
    responses={**describing.answers(), **_PROBLEMS},
    openapi_extra=describing.operation(),
)
@requires("attack")
async def attack(request: Request, model: ModelName, options: Options) -> Response:
    """Attack one image, with the model's default version.

    Send the image as the body with the attack's parameters in the address, as the file of a form with the
    parameters as its fields, or base64 in JSON. The answer has the predictions before and after behind every
    defence that the model offers, and the adversarial image; where `image/png` is accepted before JSON, it is
    that image, with the facts in headers. With `Accept: text/event-stream` it tells how the attack is, and
    the answer comes last.

    What the attack may cost is reckoned before it begins, by the model's measured speed, and refused where it
    is too much for a request. A caller that hangs up stops it.
    """
    del options
    return await _attack(request, model, None)


@router.post(
    "/v1/models/{model}/versions/{version}/attack",
    summary="Attack an image on one version of a model",
    response_model=AttackAnswer,
    responses={**describing.answers(), **_PROBLEMS},
    openapi_extra=describing.operation(),
)
@requires("attack")
async def attack_with_version(
    request: Request,
    model: ModelName,
    version: Annotated[str, Path(description="The model's version.")],
    options: Options,
) -> Response:
    """Attack as above, with the version that is named and no other."""
    del options
    return await _attack(request, model, version)


async def _attack(request: Request, model: str, version: str | None) -> Response:
    started = time.monotonic()
    services = services_of(request)
    settings = services.settings
    deadline = started + settings.attack_deadline
    bundle = services.lifecycle.catalogue.find(model, version, key=route_key(request))
    note_subject(request.scope, bundle.name, bundle.version)
    media_type = choose_media_type(request.headers.get("accept"), _OFFERED)
    with ExitStack() as held:
        holding = held.enter_context(services.admission.enter())
        body = Body(request, limit=settings.max_body_bytes, holding=holding)
        asked = await read_request(request, body, deadline=deadline)
        defence = choose_defence(bundle, asked.options.defence)
        note_subject(request.scope, bundle.name, bundle.version, defence)
        async with CancelOnDisconnect(request.receive):
            if media_type == _PNG:
                png, facts = await services.attacks.attack_for_png(bundle, asked, deadline=deadline)
                return Response(png, media_type=_PNG, headers={**facts, "Vary": "Accept"})

            async def carry_out(watcher: Watcher | None = None) -> str:
                answer = await services.attacks.attack(
                    bundle,
                    asked,
                    started=started,
                    deadline=deadline,
                    request_id=request_id_of(request.scope),
                    watcher=watcher,
                )
                return answer.model_dump_json(exclude_none=True, by_alias=True)

            if media_type == event_streams.MEDIA_TYPE:
                return await streaming.stream(request, carry_out, held.pop_all().close)
            content = await carry_out()
    return Response(content, media_type=_JSON, headers={"Vary": "Accept"})
