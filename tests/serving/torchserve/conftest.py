"""One real TorchServe for all tests here, with the digits and, where there is one, the shipped model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from holdfast.archive import WorkerSettings
from holdfast.bundle import ModelStore
from serving.torchserve.config import LaunchSettings
from serving.torchserve.java import find_java
from serving.torchserve.launch import TorchServe, free_port
from serving.torchserve.models import find_archives

SHIPPED = Path(__file__).parents[3] / "model_store"
DEFAULT = "pgd-at-cifar10"


@pytest.fixture(scope="session")
def archived_store(
    digits_store: Path, defended_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Bundles and their archives: ``digits/1``, ``judged/1``, ``centred/1`` and the default shipped model."""
    from training.archive import archive

    store = tmp_path_factory.mktemp("archived_store")
    sources = [(ModelStore(path), ModelStore(path).names()) for path in (digits_store, defended_store)]
    if (SHIPPED / DEFAULT).is_dir():
        sources.append((ModelStore(SHIPPED), [DEFAULT]))
    for source, names in sources:
        for name in names:
            directory = source.directory(name)
            shutil.copytree(directory, store / name / directory.name)
            # Long enough for requests that are sent together to meet in one batch on a slow machine.
            archive(ModelStore(store).open(name), store, settings=WorkerSettings(batch_delay=30))
    return store


@pytest.fixture(scope="session")
def torchserve(archived_store: Path) -> Iterator[TorchServe]:
    """TorchServe, answering. Who stops or kills a part of it starts that part again."""
    settings = LaunchSettings(port=free_port(), metrics_port=free_port(), heap="256m", attack_workers=0)
    with TorchServe(find_archives(archived_store), settings, find_java()) as server:
        server.start()
        server.wait_ready()
        yield server
