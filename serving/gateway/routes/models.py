"""``GET /v1/models``: what is served."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request

from holdfast.bundle import CARD
from serving.backends.catalogue import Catalogue
from serving.gateway import problem_kinds
from serving.gateway.access import GatewayRoute, requires
from serving.gateway.openapi import problem_responses
from serving.gateway.schemas import ModelDetail, ModelList, ModelSummary
from serving.gateway.services import services_of

router = APIRouter(tags=["models"], route_class=GatewayRoute)

_LIST_PROBLEMS = problem_responses(problem_kinds.INTERNAL_ERROR, problem_kinds.NOT_READY)
_PROBLEMS = problem_responses(
    problem_kinds.UNKNOWN_MODEL,
    problem_kinds.UNKNOWN_VERSION,
    problem_kinds.INTERNAL_ERROR,
    problem_kinds.NOT_READY,
)

ModelName = Annotated[str, Path(description="The model's name.")]


@router.get("/v1/models", summary="List the models", responses=_LIST_PROBLEMS)
@requires("classify")
async def list_models(request: Request) -> ModelList:
    """The models that are served, by name."""
    lifecycle = services_of(request).lifecycle
    catalogue = lifecycle.catalogue
    return ModelList(
        default=lifecycle.default_model, models=[_summarise(catalogue, name) for name in catalogue.names()]
    )


@router.get("/v1/models/{model}", summary="Describe a model", responses=_PROBLEMS)
@requires("classify")
def get_model(request: Request, model: ModelName) -> ModelDetail:
    """The default version of a model: what it takes, what it answers, and what was measured on it."""
    return _describe(request, model, None)


@router.get(
    "/v1/models/{model}/versions/{version}", summary="Describe a version of a model", responses=_PROBLEMS
)
@requires("classify")
def get_model_version(
    request: Request, model: ModelName, version: Annotated[str, Path(description="The model's version.")]
) -> ModelDetail:
    """One version of a model: what it takes, what it answers, and what was measured on it."""
    return _describe(request, model, version)


def _summarise(catalogue: Catalogue, name: str) -> ModelSummary:
    default, versions = catalogue.default(name), catalogue.versions(name)
    manifest = catalogue.find(name, default).manifest
    return ModelSummary(
        name=manifest.name,
        description=manifest.description,
        versions=versions,
        latest=versions[-1],
        default=default,
        shares=catalogue.shares(name),
        dataset=manifest.dataset.name,
        classes=len(manifest.classes),
        defences=manifest.defences,
    )


def _describe(request: Request, name: str, version: str | None) -> ModelDetail:
    catalogue = services_of(request).lifecycle.catalogue
    bundle = catalogue.find(name, version)
    manifest = bundle.manifest
    return ModelDetail(
        name=manifest.name,
        version=manifest.version,
        versions=catalogue.versions(name),
        description=manifest.description,
        created=manifest.created,
        method=manifest.method,
        dataset=manifest.dataset,
        classes=manifest.classes,
        input=manifest.input,
        head=manifest.head,
        defences=manifest.defences,
        manifold=manifest.manifold,
        imt=manifest.imt,
        calibration=manifest.calibration,
        precision=manifest.precision,
        threat_model=manifest.threat_model,
        architecture=manifest.architecture,
        training=manifest.training,
        imported=manifest.imported,
        parity=manifest.parity,
        evaluations=manifest.evaluations,
        digest=manifest.digest,
        card=bundle.path(CARD).read_text(encoding="utf-8"),
    )
