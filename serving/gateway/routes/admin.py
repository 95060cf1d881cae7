"""``/v1/admin``: for whoever runs the server."""

from __future__ import annotations

import asyncio
import logging
from typing import Annotated

from fastapi import APIRouter, Path, Request

from holdfast import bundle as bundles
from holdfast.errors import HoldfastError
from holdfast.routing import clear, roll_back, set_weights
from serving.backends.base import Refusal
from serving.gateway import problem_kinds
from serving.gateway.access import GatewayRoute, requires
from serving.gateway.lifecycle import Lifecycle
from serving.gateway.openapi import problem_responses
from serving.gateway.problem_kinds import ROUTING_REFUSED, STORE_UNUSABLE
from serving.gateway.problems import Problem
from serving.gateway.schemas import RefusedBundle, ReloadReport, RoutingBody, RoutingState
from serving.gateway.services import services_of

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/v1/admin", tags=["admin"], route_class=GatewayRoute)

_RELOAD_PROBLEMS = problem_responses(
    problem_kinds.ROUTING_REFUSED,
    problem_kinds.STORE_UNUSABLE,
    problem_kinds.INTERNAL_ERROR,
    problem_kinds.RELOAD_UNSUPPORTED,
    problem_kinds.NOT_READY,
    problem_kinds.BACKEND_UNAVAILABLE,
)
_ROUTING_PROBLEMS = problem_responses(
    problem_kinds.UNKNOWN_MODEL,
    problem_kinds.ROUTING_REFUSED,
    problem_kinds.INVALID_REQUEST,
    problem_kinds.INTERNAL_ERROR,
    problem_kinds.NOT_READY,
)

ModelName = Annotated[str, Path(description="The model's name.")]

#: What is wrong with a bundle, in words that name no path; the most special class comes first.
_REASONS: tuple[tuple[type[HoldfastError], str], ...] = (
    (bundles.MissingFileError, "A file that the manifest lists is not there."),
    (bundles.UnlistedFileError, "There is a file that the manifest does not list."),
    (bundles.ChangedFileError, "A file's bytes are not those that the manifest describes."),
    (bundles.SchemaVersionError, "It was written by a newer Holdfast."),
    (bundles.ManifestError, "The manifest is damaged, or does not fit the graphs."),
    (bundles.BundleNotFoundError, "It is no longer there."),
)


@router.post("/reload", summary="Look at the model store again", responses=_RELOAD_PROBLEMS)
@requires("admin")
async def reload(request: Request) -> ReloadReport:
    """Serve what is in the model store now, and follow its routings.

    New bundles are opened, verified and warmed up while the old ones answer; then all change at once. A
    bundle that cannot be opened, such as one that is half written, takes no other's place: `refused` names
    it. SIGHUP does the same.
    """
    try:
        found = await services_of(request).lifecycle.reload()
    except bundles.BundleError as error:
        logger.error("The models were not reloaded: %s", error)  # noqa: TRY400 - it says all there is
        raise Problem(STORE_UNUSABLE, STORE_UNUSABLE.advice) from None
    return ReloadReport(
        opened=list(found.opened),
        kept=list(found.kept),
        withdrawn=list(found.withdrawn),
        refused=[_refused(each) for each in found.refused],
    )


@router.put("/models/{model}/routing", summary="Share a model's requests out", responses=_ROUTING_PROBLEMS)
@requires("admin")
async def put_routing(request: Request, model: ModelName, body: RoutingBody) -> RoutingState:
    """Set which versions answer the requests that name none, and how many of them each.

    One version is the default; two with weights 95 and 5 are a canary on one request in twenty. It is written
    into the model store, so that it outlives the server; other servers of the same store take it when they
    reload. Requests with the same `Holdfast-Route-Key` go to the same version.
    """
    lifecycle = services_of(request).lifecycle
    served = lifecycle.catalogue.versions(model)
    missing = [version for version in body.weights if version not in served]
    if missing:
        raise Problem(
            ROUTING_REFUSED,
            f"Model '{model}' version {', '.join(missing)} is not served. Served: {', '.join(served)}.",
        )
    await asyncio.to_thread(set_weights, lifecycle.store, model, body.weights)
    return await _follow(lifecycle, model)


@router.post("/models/{model}/rollback", summary="Undo the last routing", responses=_ROUTING_PROBLEMS)
@requires("admin")
async def post_rollback(request: Request, model: ModelName) -> RoutingState:
    """Return to what was before the last change of the routing; a second time undoes the first."""
    lifecycle = services_of(request).lifecycle
    lifecycle.catalogue.versions(model)
    await asyncio.to_thread(roll_back, lifecycle.store, model)
    return await _follow(lifecycle, model)


@router.delete(
    "/models/{model}/routing", summary="Let the newest version answer", responses=_ROUTING_PROBLEMS
)
@requires("admin")
async def delete_routing(request: Request, model: ModelName) -> RoutingState:
    """Forget the routing: the newest version answers the requests that name none, whichever that is."""
    lifecycle = services_of(request).lifecycle
    lifecycle.catalogue.versions(model)
    await asyncio.to_thread(clear, lifecycle.store, model)
    return await _follow(lifecycle, model)


async def _follow(lifecycle: Lifecycle, model: str) -> RoutingState:
    await lifecycle.reroute()
    catalogue = lifecycle.catalogue
    return RoutingState(model=model, default=catalogue.default(model), shares=catalogue.shares(model))


def _refused(refusal: Refusal) -> RefusedBundle:
    reason = next(
        (words for kind, words in _REASONS if isinstance(refusal.error, kind)), "It cannot be opened."
    )
    return RefusedBundle(model=refusal.name, version=refusal.version, reason=reason)
