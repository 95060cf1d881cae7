"""Which clean image is matched with which perturbed one: the plan, by the schemes of FS, Tables 3b and 4."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from training.transport.ipot import ipot
from training.transport.sinkhorn import sinkhorn


class MatchingOptions(BaseModel):
    """How two batches are matched. The defaults are the paper's and, where it is silent, its program's."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    matching: Annotated[
        Literal["ot", "uniform", "identity"],
        Field(description="FS Table 3b: by optimal transport, each with all, or each with its own."),
    ] = "ot"
    solver: Annotated[Literal["sinkhorn", "ipot"], Field(description="FS Table 4.")] = "sinkhorn"
    regularisation: Annotated[
        float, Field(gt=0, description="Of Sinkhorn's entropy; FS and FS-GAN: 0.01.")
    ] = 0.01
    sinkhorn_iterations: Annotated[
        int, Field(ge=1, le=1000, description="At most, where there is a tolerance.")
    ] = 3
    sinkhorn_tolerance: Annotated[
        float,
        Field(ge=0, description="Summed change of the potentials to stop at; the authors' program: 0.1."),
    ] = 0.0
    ipot_beta: Annotated[float, Field(gt=0, description="The authors' program: 1.")] = 1.0
    ipot_outer: Annotated[int, Field(ge=1, le=1000, description="The authors' program: 50.")] = 50
    ipot_inner: Annotated[int, Field(ge=1, le=100, description="The authors' program: 1.")] = 1
    plan_gradient: Annotated[
        Literal["unrolled", "detached"],
        Field(description="Whether the distance is differentiated through the transport plan, too."),
    ] = "unrolled"
    group: Annotated[int, Field(ge=2, description="Images matched with one another, at most.")] = 60
    gather: Annotated[
        bool, Field(description="Match the images of all processes, not those of each by themselves.")
    ] = False


def make_plan(cost: Tensor, options: MatchingOptions) -> Tensor:
    """The plan T that the options ask for.

    Args:
        cost: (..., n, n): one problem, or several.
        options: See :class:`MatchingOptions`.

    Returns:
        (..., n, n); each plan's entries sum to 1.
    """
    if options.matching == "uniform":
        return torch.full_like(cost, 1 / (cost.shape[-1] * cost.shape[-2]))
    if options.matching == "identity":
        own = torch.eye(cost.shape[-1], dtype=cost.dtype, device=cost.device) / cost.shape[-1]
        return own.expand_as(cost)
    if options.plan_gradient == "detached":
        cost = cost.detach()
    if options.solver == "ipot":
        return ipot(cost, beta=options.ipot_beta, outer=options.ipot_outer, inner=options.ipot_inner)
    return sinkhorn(
        cost,
        regularisation=options.regularisation,
        iterations=options.sinkhorn_iterations,
        tolerance=options.sinkhorn_tolerance,
    )
