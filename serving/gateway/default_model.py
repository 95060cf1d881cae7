"""Which model is named first, to whoever does not know which to ask."""

from __future__ import annotations

from collections import Counter

from holdfast.figures import robust_figure
from holdfast.manifest import Manifest
from serving.backends.catalogue import Catalogue


def default_model(catalogue: Catalogue, named: str = "") -> str:
    """The model that pages and messages name first.

    Without a name it is the one that holds best under the worst of the attacks that it was measured with,
    among the models of the data set that most models are of: accuracies of different tasks do not compare.

    Args:
        catalogue: What is served; at least one model.
        named: What the operator chose.

    Raises:
        UnknownModelError: There is no model of that name.
    """
    if named:
        return catalogue.find(named).name
    manifests = [catalogue.find(name).manifest for name in catalogue.names()]
    usual, _ = Counter(manifest.dataset.name for manifest in manifests).most_common(1)[0]
    return max((each for each in manifests if each.dataset.name == usual), key=_robustness).name


def _robustness(manifest: Manifest) -> float:
    figure = robust_figure(manifest)
    return -1.0 if figure is None else figure.accuracy
