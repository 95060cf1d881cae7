"""One exported bundle for the tests that only look at it."""

from __future__ import annotations

import pytest
from support.exported import SHAPE, Exported
from support.networks import make_facts, make_network, random_images

from holdfast.bundle import Bundle
from training.export import export_bundle


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """A small CNN with ten classes and its bundle, with TorchScript. Do not change it."""
    network = make_network("small-cnn", channels=1, size=SHAPE[1:])
    root = export_bundle(
        network,
        name="drawn",
        version="1",
        store=tmp_path_factory.mktemp("store"),
        facts=make_facts(network, SHAPE),
        calibration_images=random_images(8, SHAPE),
        torchscript=True,
    )
    return Exported(network, Bundle.open(root))
