"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
from support.once import made_once
from support.tiny import make_tiny_bundle

# What the caller's shell sets for its own use must not decide what the tests see; before anything reads it.
for _name in list(os.environ):
    if _name in ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR") or (
        _name.startswith("HOLDFAST_") and _name != "HOLDFAST_DATA"
    ):
        del os.environ[_name]
# A shell starts what runs in its background deaf to Ctrl-C, and that is inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each process whole files, whose fixtures are the files' own; all of TorchServe's to one, and all
    that need a browser.
    """
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            for shared in ("tests/serving/torchserve/", "tests/playground/"):
                if nodeid.startswith(shared):
                    return shared
            return str(super()._split_scope(nodeid))

    return ByFile(config, log)


@pytest.fixture(scope="session")
def tiny_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store with one bundle, ``tiny/1``. Do not change it: make your own with make_tiny_bundle."""
    store = tmp_path_factory.mktemp("model_store")
    make_tiny_bundle(store)
    return store


@pytest.fixture(scope="session")
def tiny_bundle(tiny_store: Path) -> Path:
    """The directory of the bundle in ``tiny_store``; see support.tiny for what it predicts."""
    return tiny_store / "tiny" / "1"


@pytest.fixture(scope="session")
def defended_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with ``judged/1``, which offers IMT, and ``centred/1``, of class centres. Do not change it."""
    from support.defended import centred_network, judged_network, make_defended_bundle

    def make(store: Path) -> None:
        make_defended_bundle(store, judged_network(), "judged")
        make_defended_bundle(store, centred_network(), "centred")

    return made_once(tmp_path_factory, "defended_store", make)


@pytest.fixture(scope="session")
def digits_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store with ``digits/1``, a small network trained on scanned digits. Do not change it."""
    from support.digits import make_digits_bundle, train_digits

    def make(store: Path) -> None:
        make_digits_bundle(store, train_digits())

    return made_once(tmp_path_factory, "digits_store", make)
