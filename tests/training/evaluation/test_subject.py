"""Which images a bundle is measured on, and with which it is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.tiny import make_tiny_bundle

from holdfast.bundle import GRADIENT, Bundle
from holdfast.errors import UsageError
from training.commands.measuring import _default_lines
from training.data import Split
from training.evaluation.demands import check
from training.evaluation.line import BLIND_LINES, DEFAULT_LINES, Line
from training.evaluation.measurement import Measurement
from training.evaluation.runner import Loaded
from training.evaluation.subject import check_fit, images_of


@pytest.fixture
def tiny(tmp_path: Path) -> Bundle:
    """Tells red, green and blue apart; trained on a folder, of which a tenth was held out."""
    bundle = Bundle.open(make_tiny_bundle(tmp_path))
    recipe = {"dataset": {"name": "folder:flowers", "options": {"test_fraction": 0.1, "seed": 3}}}
    dataset = bundle.manifest.dataset.model_copy(update={"name": "folder:flowers"})
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"recipe": recipe, "dataset": dataset}))


def loaded(*classes: str) -> Loaded:
    images = np.zeros((3, 3, 8, 8), dtype=np.uint8)
    return Loaded(Split(images, np.array([0, 1, 2])), "", "", classes)


def test_images_that_were_trained_on_are_not_measured_wherever_they_lie_now(tiny: Bundle) -> None:
    for data in (None, "folder:flowers", "folder:/home/somebody/flowers"):
        options = images_of(tiny, data=data).options
        assert (options["test_fraction"], options["seed"]) == (0.1, 3)
    assert images_of(tiny, data="folder:/home/somebody/trees").options.keys() == {"size", "channels"}


def test_classes_in_another_order_are_refused(tiny: Bundle) -> None:
    assert tiny.manifest.classes == ["red", "green", "blue"]
    check_fit(tiny, "folder:x", loaded("red", "green", "blue"))
    check_fit(tiny, "folder:x", loaded("Red", "grass", "blue"))
    check_fit(tiny, "npz:x", loaded("0", "1", "2"))
    with pytest.raises(UsageError, match="'blue' is class 2 of tiny and class 0 of folder:x"):
        check_fit(tiny, "folder:x", loaded("blue", "green", "red"))


def test_by_default_a_model_is_attacked_by_what_it_has(tiny: Bundle) -> None:
    manifest = tiny.manifest
    assert tuple(_default_lines(manifest)) == DEFAULT_LINES
    two = manifest.model_copy(update={"classes": ["red", "green"]})
    assert tuple(_default_lines(two)) == ("clean", "fgsm", "pgd-20", "cw-20")
    files = {name: entry for name, entry in manifest.files.items() if name != GRADIENT}
    assert tuple(_default_lines(manifest.model_copy(update={"files": files}))) == BLIND_LINES


@pytest.mark.parametrize(
    ("line", "classes", "said"),
    [
        ("dlr-20", 2, "this loss needs 3 classes and more; tiny/1 has 2"),
        ("dlr-20,target=1", 3, "this loss needs 4 classes and more; tiny/1 has 3"),
        ("apgd-dlr", 2, ""),  # which takes the margin by itself
        ("apgd-t", 3, ""),
        ("dlr-20", 3, ""),
    ],
)
def test_a_loss_of_more_classes_than_there_are_is_refused(
    tmp_path: Path, line: str, classes: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_tiny_bundle(tmp_path)
    manifest = Bundle.open(root).manifest
    few = Bundle(root, manifest.model_copy(update={"classes": manifest.classes[:classes]}))
    monkeypatch.setattr(Bundle, "open", lambda *_, **__: few)
    what = Measurement(root, "none", Line.parse(line, manifest.threat_model))
    if not said:
        check(what, tmp_path)
        return
    with pytest.raises(UsageError, match=said):
        check(what, tmp_path)


def test_a_model_without_a_gradient_is_attacked_by_its_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_tiny_bundle(tmp_path)
    manifest = Bundle.open(root).manifest
    files = {name: entry for name, entry in manifest.files.items() if name != GRADIENT}
    without = Bundle(root, manifest.model_copy(update={"files": files}))
    monkeypatch.setattr(Bundle, "open", lambda *_, **__: without)
    for line in ("square-10", "rays-20", "noise"):
        check(Measurement(root, "none", Line.parse(line, manifest.threat_model)), tmp_path)
    with pytest.raises(UsageError, match="pgd-20: tiny/1 was exported without a gradient"):
        check(Measurement(root, "none", Line.parse("pgd-20", manifest.threat_model)), tmp_path)
