"""An exported bundle: what is in it, what it computes, and what becomes of an export that fails."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file
from support.exported import SHAPE, Exported
from support.networks import make_facts, make_network, random_images

import training.export.trace as tracing
import training.export.write as writing
from holdfast.attacks.loss import Loss
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.attacks.torch_oracle import TorchOracle
from holdfast.bundle import CARD, GRADIENT, MANIFEST, PREDICT, TORCHSCRIPT, WEIGHTS, Bundle
from holdfast.errors import HoldfastError, UsageError
from holdfast.sessions import open_session
from training.export import ExportError, count_steps, export_bundle
from training.export.decompositions import decomposition_table
from training.models import Network

_TESTS = Path(__file__).parents[2]
_ARCHITECTURES = {
    "wrn-10-1": {"size": (8, 8), "channels": 3},
    "preact-resnet-18": {"size": (9, 9), "channels": 3, "base": 8},
    "mat-vgg": {"size": (12, 12), "channels": 1, "width": 16},
}


def _export(network: Network, store: Path, shape: tuple[int, int, int] = SHAPE, **changes: object) -> Path:
    arguments = {
        "name": "drawn",
        "version": "1",
        "store": store,
        "facts": make_facts(network, shape),
        "calibration_images": random_images(8, shape),
    }
    return export_bundle(network, **(arguments | changes))  # type: ignore[arg-type]


def _assert_same_answers(network: Network, bundle: Bundle, batch: int) -> None:
    shape = bundle.manifest.input.shape
    images = random_images(batch, shape, seed=99)
    labels = np.arange(batch) % network.classes
    targets = (labels + 1) % network.classes
    onnx_oracle, torch_oracle = OnnxOracle(bundle), TorchOracle(network, network.classes)
    tensors = [torch.from_numpy(array) for array in (images, labels, targets)]
    np.testing.assert_allclose(
        onnx_oracle.logits(images), torch_oracle.logits(tensors[0]).numpy(), rtol=1e-4, atol=1e-4
    )
    for loss in Loss:
        found = onnx_oracle.gradient(images, labels, loss, targets)
        expected = torch_oracle.gradient(tensors[0], tensors[1], loss, tensors[2])
        np.testing.assert_allclose(found.logits, expected.logits.numpy(), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(
            found.loss, expected.loss.numpy(), rtol=1e-3, atol=1e-4, err_msg=loss.label
        )
        largest = expected.gradient.abs().max().item()
        np.testing.assert_allclose(
            found.gradient / largest, expected.gradient.numpy() / largest, atol=1e-3, err_msg=loss.label
        )


@pytest.mark.parametrize("batch", [1, 5])
def test_every_loss_and_its_gradient_are_those_of_torch(exported: Exported, batch: int) -> None:
    _assert_same_answers(exported.network, exported.bundle, batch)


@pytest.mark.parametrize("architecture", _ARCHITECTURES)
def test_every_architecture_is_exported(architecture: str, tmp_path: Path) -> None:
    arguments = _ARCHITECTURES[architecture]
    network = make_network(architecture, **arguments)  # type: ignore[arg-type]
    shape = (arguments["channels"], *arguments["size"])  # type: ignore[misc]
    bundle = Bundle.open(_export(network, tmp_path, shape))
    assert bundle.manifest.parity.gradient_sign > 0.999
    _assert_same_answers(network, bundle, 3)


def _assert_few_classes(network: Network, bundle: Bundle) -> None:
    """The losses that there are agree with torch; those that there are not are refused by both oracles."""
    oracle, reference = OnnxOracle(bundle), TorchOracle(network, network.classes)
    images, labels = random_images(3, (1, 4, 4)), np.array([0, 1, 0])
    for loss in Loss:
        try:
            expected = reference.gradient(
                torch.from_numpy(images), torch.from_numpy(labels), loss, torch.from_numpy(1 - labels)
            )
        except ValueError as refusal:
            with pytest.raises(ValueError, match=re.escape(str(refusal))):
                oracle.gradient(images, labels, loss, 1 - labels)
        else:
            found = oracle.gradient(images, labels, loss, 1 - labels)
            np.testing.assert_allclose(found.loss, expected.loss.numpy(), rtol=1e-3, atol=1e-5)
            np.testing.assert_allclose(found.gradient, expected.gradient.numpy(), rtol=1e-2, atol=1e-4)


def test_with_three_classes_there_is_dlr_but_not_its_targeted_form(tmp_path: Path) -> None:
    network = make_network("small-cnn", channels=1, size=(4, 4), classes=3)
    _assert_few_classes(network, Bundle.open(_export(network, tmp_path, (1, 4, 4))))


def test_two_classes_are_exported_and_the_network_is_left_as_it_was(tmp_path: Path) -> None:
    network = make_network("small-cnn", channels=1, size=(4, 4), classes=2)
    network.head.weight.requires_grad_(True)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    steps: list[int] = []
    root = _export(network, tmp_path, (1, 4, 4), progress=lambda done, step: steps.append(done))
    assert [name for name, value in network.named_parameters() if value.requires_grad] == ["head.weight"]
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert steps == list(range(count_steps(network, (1, 4, 4), torchscript=False) + 1))
    network.requires_grad_(False)
    _assert_few_classes(network, Bundle.open(root))


def test_a_loss_that_there_is_not_gives_no_numbers(exported: Exported) -> None:
    session = open_session(exported.bundle, GRADIENT)
    classes = np.array([1, 2])
    feeds = {
        "images": random_images(2, SHAPE),
        "labels": classes,
        "targets": classes,
        "loss": np.array(len(Loss)),
    }
    logits, losses, gradient = session.run(["logits", "losses", "gradient"], feeds)
    assert np.isfinite(logits).all()
    assert np.isnan(losses).all()
    assert np.isnan(gradient).any()


def test_each_graph_is_small_and_all_its_weights_lie_in_the_one_file(exported: Exported) -> None:
    root = exported.bundle.root
    size = (root / WEIGHTS).stat().st_size
    names = set(load_file(root / WEIGHTS))
    for graph in (PREDICT, GRADIENT):
        assert (root / graph).stat().st_size < 100_000
        model = onnx.load(root / graph, load_external_data=False)
        onnx.checker.check_model(str(root / graph))
        assert model.graph.initializer
        for initializer in model.graph.initializer:
            assert initializer.data_location == onnx.TensorProto.EXTERNAL
            place = {entry.key: entry.value for entry in initializer.external_data}
            assert place["location"] == WEIGHTS
            assert int(place["offset"]) + int(place["length"]) <= size
            assert initializer.name in names


def test_training_can_go_on_from_the_weights(exported: Exported) -> None:
    network = make_network("small-cnn", channels=1, size=SHAPE[1:], seed=5)
    network.load_state_dict(load_file(exported.bundle.path(WEIGHTS)), strict=True)
    images = torch.from_numpy(random_images(2, SHAPE))
    torch.testing.assert_close(network(images), exported.network(images), rtol=0, atol=0)


def test_the_bundle_has_its_files_and_its_manifest_says_what_was_measured(exported: Exported) -> None:
    manifest = exported.bundle.manifest
    assert set(manifest.files) == {PREDICT, GRADIENT, WEIGHTS, CARD, TORCHSCRIPT}
    assert manifest.parity.batch_sizes == [1, 2, 7, 32]
    assert manifest.parity.images == 84
    assert 0 < manifest.parity.logits < 1e-4
    assert manifest.libraries["torch"] == torch.__version__.partition("+")[0]
    card = exported.bundle.path(CARD).read_text(encoding="utf-8")
    assert "accuracy and robustness of this model are unknown" in card
    assert manifest.files[GRADIENT].sha256 in card


def test_what_is_served_is_readable_by_others_than_its_maker(exported: Exported) -> None:
    for name in [MANIFEST, *exported.bundle.manifest.files]:
        assert (exported.bundle.root / name).stat().st_mode & 0o044, name


def test_nothing_in_a_bundle_says_where_it_was_made(exported: Exported) -> None:
    traces = [
        Path(torch.__file__).parents[1],
        Path(__file__).parents[3],
        exported.bundle.root.parents[1],
        Path.home(),
    ]
    for entry in exported.bundle.root.iterdir():
        content = entry.read_bytes()
        for trace in traces:
            assert str(trace).encode() not in content, (entry.name, trace)
        assert b"stack_trace" not in content, entry.name


def test_the_same_weights_give_the_same_bytes(exported: Exported, tmp_path: Path) -> None:
    script = f"""
import sys
sys.path[:0] = {[str(parent) for parent in (_TESTS.parent, _TESTS)]!r}
from pathlib import Path
from support.networks import make_facts, make_network, random_images
from training.export import export_bundle
network = make_network("small-cnn", channels=1, size={SHAPE[1:]})
export_bundle(network, name="again", version="7", store=Path(sys.argv[1]), facts=make_facts(network, {SHAPE}),
              calibration_images=random_images(3, {SHAPE}, seed=1), torchscript=True)
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script, tmp_path], check=True, cwd=tmp_path)
    again = Bundle.open(tmp_path / "again" / "7")
    # Not model.pt: TorchScript numbers its classes by what its process has traced before.
    for name in (PREDICT, GRADIENT, WEIGHTS):
        assert again.path(name).read_bytes() == exported.bundle.path(name).read_bytes(), name


def test_a_bundle_is_attacked_without_torch(exported: Exported) -> None:
    script = f"""
import sys
sys.modules["torch"] = None
import numpy as np
from holdfast.attacks.loss import Loss
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.bundle import Bundle
oracle = OnnxOracle(Bundle.open({str(exported.bundle.root)!r}))
answer = oracle.gradient(np.full((2, *{SHAPE}), 0.5, np.float32), np.array([1, 2]), Loss.DLR)
assert answer.gradient.shape == (2, *{SHAPE}) and np.abs(answer.gradient).max() > 0
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_gradient_that_disagrees_is_refused_and_nothing_is_left_on_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = decomposition_table()
    key = torch.ops.aten.convolution_backward.default

    def forgets_to_flip(grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, *rest: object) -> object:
        return right[key](grad, x, weight.flip([2, 3]), *rest)

    monkeypatch.setattr(tracing, "decomposition_table", lambda: right | {key: forgets_to_flip})
    network = make_network("small-cnn", channels=1, size=SHAPE[1:])
    with pytest.raises(ExportError, match="sign"):
        _export(network, tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_leaves_the_bundle_that_it_would_have_replaced(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "drawn" / "1"
    shutil.copytree(exported.bundle.root, target)

    def fail(network: object, directory: Path, *rest: object) -> object:
        (directory / WEIGHTS).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "_write_graphs", fail)
    with pytest.raises(KeyboardInterrupt):
        _export(exported.network, tmp_path, force=True)
    assert Bundle.open(target).manifest == exported.bundle.manifest
    assert [entry.name for entry in target.parent.iterdir()] == ["1"]


def test_a_version_that_is_there_is_replaced_only_by_force(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "drawn" / "1"
    target.mkdir(parents=True)
    (target / "precious").write_text("work")
    with pytest.raises(UsageError, match="already") as refusal:
        _export(exported.network, tmp_path)
    assert "--force" in refusal.value.hint
    assert (target / "precious").read_text() == "work"
    # What is written is not the point here: the graphs are those at hand.
    root, parity = exported.bundle.root, exported.bundle.manifest.parity

    def copy(network: object, directory: Path, *rest: object) -> object:
        for name in (PREDICT, GRADIENT, WEIGHTS):
            (directory / name).write_bytes((root / name).read_bytes())
        return parity

    monkeypatch.setattr(writing, "_write_graphs", copy)
    _export(exported.network, tmp_path, force=True)
    assert set(Bundle.open(target).manifest.files) == {PREDICT, GRADIENT, WEIGHTS, CARD}
    assert [entry.name for entry in target.parent.iterdir()] == ["1"]


def test_of_two_exports_of_one_version_the_first_to_finish_stays(
    exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "drawn" / "1"

    def overtaken(network: object, directory: Path, *rest: object) -> object:
        shutil.copytree(exported.bundle.root, target)
        for name in (PREDICT, GRADIENT, WEIGHTS):
            (directory / name).write_bytes(exported.bundle.path(name).read_bytes())
        return exported.bundle.manifest.parity

    monkeypatch.setattr(writing, "_write_graphs", overtaken)
    with pytest.raises(UsageError, match="already"):
        _export(exported.network, tmp_path)
    assert Bundle.open(target).manifest == exported.bundle.manifest
    assert [entry.name for entry in target.parent.iterdir()] == ["1"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "Not a name"}, "no name"),
        ({"name": "../escape"}, "no name"),
        ({"version": "v1"}, "no version"),
        ({"version": "0"}, "no version"),
        ({"calibration_images": random_images(2, (1, 8, 8))}, "calibration"),
        ({"calibration_images": random_images(2, SHAPE)[:0]}, "calibration"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_written(
    exported: Exported, tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    with pytest.raises(HoldfastError, match=reason):
        _export(exported.network, tmp_path / "store", **change)
    assert list(tmp_path.iterdir()) == []


def test_only_float32_is_exported(tmp_path: Path) -> None:
    network = make_network("small-cnn", channels=1, size=SHAPE[1:]).double()
    with pytest.raises(ExportError, match="float64"):
        _export(network, tmp_path)


def test_the_manifest_is_json_that_others_can_read(exported: Exported) -> None:
    content = json.loads((exported.bundle.root / MANIFEST).read_text(encoding="utf-8"))
    assert content["schema_version"] == 1
    assert content["architecture"]["parameters"] == sum(p.numel() for p in exported.network.parameters())
