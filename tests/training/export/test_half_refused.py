"""What rounding the weights to float16 may change, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.digits import digits, train_digits
from support.networks import make_facts

from holdfast.bundle import CARD, Bundle
from holdfast.precision import AttackedPrecision, Precision
from training.export import ExportError, HeldOut, count_steps, export_bundle
from training.export.half import demand_as_good
from training.models import Network


def _export(network: Network, store: Path, **changes: Any) -> Path:
    images, labels = digits()
    arguments: dict[str, Any] = {
        "name": "half",
        "version": "1",
        "store": store,
        "facts": make_facts(network, (1, 8, 8)),
        "calibration_images": images[:16],
        "held_out": HeldOut(images[1500:], labels[1500:]),
        "weights": "float16",
    }
    return export_bundle(network, **(arguments | changes))


def test_without_labels_logits_and_classes_are_compared_and_the_network_is_left_as_it_was(
    tmp_path: Path,
) -> None:
    network = train_digits(epochs=1)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    steps: list[int] = []
    root = _export(network, tmp_path, held_out=None, progress=lambda done, step: steps.append(done))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert steps == list(range(count_steps(network, (1, 8, 8), torchscript=False, half=True) + 1))
    bundle = Bundle.open(root)
    found = bundle.manifest.precision
    assert found is not None
    assert (found.images, found.accuracy, found.attacked) == (16, None, None)
    assert "accuracy as trained" not in bundle.path(CARD).read_text(encoding="utf-8")


def test_weights_beyond_float16_are_refused_by_their_name(tmp_path: Path) -> None:
    network = train_digits(epochs=1)
    with torch.no_grad():
        network.head.weight[3, 1] = -1e5  # type: ignore[index,operator]
    reason = r"head\.weight has values up to 1e\+05, and float16 ends at 65504"
    with pytest.raises(ExportError, match=reason) as refusal:
        _export(network, tmp_path / "store")
    assert "--precision float32" in refusal.value.hint
    assert list(tmp_path.iterdir()) == []


def test_a_network_that_is_worse_rounded_is_refused_with_the_figures(tmp_path: Path) -> None:
    network = train_digits()
    with torch.no_grad():
        network.head.weight *= 1e-8  # type: ignore[operator]  # below float16's least: all become 0
        network.head.bias.zero_()  # type: ignore[operator,union-attr]
    with pytest.raises(ExportError, match="refused") as refusal:
        _export(network, tmp_path / "store")
    said = refusal.value.message
    assert "of 297 images change their class; accuracy goes from 9" in said
    assert "accuracy under PGD-10 goes from" in said
    assert "At most 0.5% of the images" in said
    assert "--precision float32" in refusal.value.hint
    assert list(tmp_path.iterdir()) == []


def _precision(images: int, changed: int, lost: int = 0, attacked: int = 0) -> Precision:
    return Precision(
        weights="float16",
        share=1.0,
        images=images,
        logits=1e-3,
        changed=changed / images,
        accuracy=(0.9, 0.9 - lost / images),
        attacked=AttackedPrecision(steps=10, images=400, accuracy=(0.4, 0.4 - attacked / 400)),
    )


@pytest.mark.parametrize(
    "found",
    [_precision(2000, 10, 10, 2), _precision(60, 1, 1), _precision(2000, 0, -20, -9), _precision(7, 1)],
)
def test_half_a_per_cent_is_as_good_and_so_is_one_image_of_few(found: Precision) -> None:
    demand_as_good(found)


@pytest.mark.parametrize(
    ("found", "figure"),
    [
        (_precision(2000, 11), "0.55% of 2000 images change their class"),
        (_precision(60, 2), "3.33% of 60 images"),
        (_precision(2000, 0, 11), "accuracy goes from 90.00% to 89.45% of 2000"),
        (_precision(2000, 0, 0, 3), "accuracy under PGD-10 goes from 40.00% to 39.25% of 400"),
    ],
)
def test_more_is_not(found: Precision, figure: str) -> None:
    with pytest.raises(ExportError) as refusal:
        demand_as_good(found)
    assert figure in refusal.value.message
