"""Which model is named first, to whoever does not know which to ask."""

from __future__ import annotations

from holdfast.figures import most_robust
from serving.backends.catalogue import Catalogue


def default_model(catalogue: Catalogue, named: str = "") -> str:
    """The model that pages and messages name first.

    Without a name it is the :func:`holdfast.figures.most_robust`.

    Args:
        catalogue: What is served; at least one model.
        named: What the operator chose.

    Raises:
        UnknownModelError: There is no model of that name.
    """
    if named:
        return catalogue.find(named).name
    return most_robust([catalogue.find(name).manifest for name in catalogue.names()]).name
