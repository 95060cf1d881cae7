"""Two modules of somebody else's, exported once. Do not change their bundles."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file
from support.foreign import Foreign, Mixed

from holdfast.bundle import Bundle
from training.commands.import_facts import Import
from training.commands.importing import run


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Foreign:
    """``Mixed`` with weights of its own from a file, and TorchScript."""
    root = tmp_path_factory.mktemp("foreign")
    torch.manual_seed(3)
    module = Mixed(7).eval()
    module.batch.running_mean.uniform_()
    save_file(module.state_dict(), root / "weights.safetensors")
    place = run(
        Import(
            factory="support.foreign:Mixed",
            arguments=("num_classes=7",),
            weights=root / "weights.safetensors",
            input_shape="1x8x8",
            normalise="0.5/0.25",
            input_range="0..2",
            classes="a, b,c,d,e,f,g",
            epsilon="0.1",
        ),
        name=None,
        version=None,
        store=root / "store",
        description="Somebody's.",
        precision="float32",
        torchscript=True,
        force=False,
    )
    return Foreign(module, Bundle.open(place))


@pytest.fixture(scope="session")
def blind(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """``Small``, exported without a gradient, with the weights that it draws."""
    wanted = Import(factory="support.foreign:Small", input_shape="1x8x8", gradient=False)
    options = {
        "precision": "float32",
        "torchscript": False,
        "force": False,
        "description": "",
        "version": None,
    }
    return Bundle.open(run(wanted, name="blind", store=tmp_path_factory.mktemp("blind"), **options))  # type: ignore[arg-type]
