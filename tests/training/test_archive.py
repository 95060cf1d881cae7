"""Packing a bundle for TorchServe."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from holdfast.archive import (
    HANDLER,
    MAR_MANIFEST,
    SETTINGS,
    ArchiveError,
    WorkerSettings,
    check_directory,
    read_archive,
    unpack,
)
from holdfast.bundle import MANIFEST, PREDICT, TORCHSCRIPT, WEIGHTS, Bundle, BundleError, ModelStore
from holdfast.sessions import open_session
from training.archive import TOLERANCE, archive, compare
from training.commands.archive import app
from training.rebuild import rebuild


@pytest.fixture
def bundle(digits_store: Path) -> Bundle:
    return ModelStore(digits_store).open("digits")


@pytest.fixture(scope="module")
def packed(digits_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("archives") / "made" / "here"
    return archive(ModelStore(digits_store).open("digits"), output, settings=WorkerSettings(workers=3))


def test_the_archive_holds_the_bundle_and_what_runs_it(packed: Path, bundle: Bundle, tmp_path: Path) -> None:
    assert packed.name == "digits.mar"
    record = unpack(packed, tmp_path)
    assert (record.name, record.version) == ("digits", "1")
    assert record.weights == bundle.manifest.files[WEIGHTS].sha256
    assert check_directory(tmp_path) == record
    assert (tmp_path / MANIFEST).read_bytes() == (bundle.root / MANIFEST).read_bytes()
    assert "class HoldfastHandler" in (tmp_path / HANDLER).read_text(encoding="utf-8")
    assert "minWorkers: 3" in (tmp_path / SETTINGS).read_text(encoding="utf-8")


def test_its_torchscript_computes_what_the_bundle_computes(
    packed: Path, bundle: Bundle, tmp_path: Path
) -> None:
    unpack(packed, tmp_path)
    assert compare(bundle, tmp_path / TORCHSCRIPT) <= TOLERANCE
    with pytest.warns(Warning, match=r"torch\.jit\.load"):
        network = torch.jit.load(tmp_path / TORCHSCRIPT)
    images = np.random.default_rng(5).random((3, 1, 8, 8), dtype=np.float32)
    (expected,) = open_session(bundle, PREDICT).run(["logits"], {"images": images})
    np.testing.assert_allclose(network(torch.from_numpy(images)).numpy(), expected, atol=1e-4)
    assert network.features(torch.from_numpy(images)).shape == (3, rebuild(bundle).width)


def test_the_same_bundle_gives_the_same_bytes(packed: Path, digits_store: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from holdfast.archive import WorkerSettings\n"
        "from holdfast.bundle import Bundle; from training.archive import archive\n"
        "archive(Bundle.open(sys.argv[1]), Path(sys.argv[2]), settings=WorkerSettings(workers=3))"
    )
    made = []
    for name in ("first", "second"):
        # A process each: TorchScript numbers its classes from the first trace of a process on.
        command = [sys.executable, "-c", code, str(digits_store / "digits" / "1"), str(tmp_path / name)]
        subprocess.run(command, check=True)
        made.append((tmp_path / name / "digits.mar").read_bytes())
    assert made[0] == made[1]


def test_nothing_of_this_machine_is_in_the_archive(packed: Path, bundle: Bundle) -> None:
    with zipfile.ZipFile(packed) as file:
        for entry in file.infolist():
            data = file.read(entry)
            for trace in (str(Path.cwd()), sys.prefix, str(Path.home()) + "/"):
                assert trace.encode() not in data, f"{entry.filename} holds {trace}"
        manifest = json.loads(file.read(MAR_MANIFEST))
    created = bundle.manifest.created.strftime("%d/%m/%Y %H:%M:%S")
    assert manifest["createdOn"] == created, "the bundle's date, not the archive's"


def test_an_archive_that_is_there_is_replaced_only_by_force(
    packed: Path, bundle: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "digits.mar").write_bytes(b"precious")
    with pytest.raises(ArchiveError, match="exists already") as caught:
        archive(bundle, tmp_path)
    assert "--force" in caught.value.hint
    assert (tmp_path / "digits.mar").read_bytes() == b"precious"
    archive(bundle, tmp_path, force=True)
    assert read_archive(tmp_path / "digits.mar").name == "digits"
    assert [path.name for path in tmp_path.iterdir()] == ["digits.mar"]


def test_a_graph_that_disagrees_with_the_weights_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    mixed = Bundle(tmp_path / "mixed", bundle.manifest)
    shutil.copytree(bundle.root, mixed.root)
    # The graphs find a tensor by its place in the file, the network by its name: give two the other's name.
    data = (mixed.root / WEIGHTS).read_bytes()
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["normalise.mean"], header["normalise.std"] = header["normalise.std"], header["normalise.mean"]
    swapped = json.dumps(header, separators=(",", ":")).encode().ljust(end - 8)
    assert len(swapped) == end - 8
    (mixed.root / WEIGHTS).write_bytes(data[:8] + swapped + data[end:])
    with pytest.raises(ArchiveError, match=r"differs from its predict\.onnx by"):
        archive(mixed, tmp_path / "output")
    assert list((tmp_path / "output").iterdir()) == []


def test_weights_of_another_architecture_are_refused(tmp_path: Path, bundle: Bundle) -> None:
    architecture = bundle.manifest.architecture.model_copy(update={"name": "wrn-10-1"})
    other = Bundle(bundle.root, bundle.manifest.model_copy(update={"architecture": architecture}))
    with pytest.raises(BundleError, match="cannot be built again as 'wrn-10-1'"):
        archive(other, tmp_path)


def test_no_directory_of_the_temporary_directory_is_touched(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # torch-model-archiver empties <temporary directory>/<model name>, whoever that belongs to.
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "mine").write_text("precious", encoding="utf-8")
    archive(bundle, tmp_path / "output")
    assert (tmp_path / "digits" / "mine").read_text(encoding="utf-8") == "precious"


def test_rebuilding_gives_the_network_back(bundle: Bundle) -> None:
    network = rebuild(bundle)
    assert not network.training
    images = np.random.default_rng(1).random((4, 1, 8, 8), dtype=np.float32)
    (expected,) = open_session(bundle, PREDICT).run(["logits"], {"images": images})
    with torch.no_grad():
        found = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_command_packs_into_the_store_and_says_what_comes_next(
    digits_store: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(digits_store, store)
    result = CliRunner().invoke(app, ["digits/1", "--store", str(store), "--batch-size", "4"])
    assert result.exit_code == 0, result.output
    assert "Packed digits version 1" in result.output
    assert "holdfast torchserve --store" in result.output
    assert read_archive(store / "digits.mar").version == "1"
    again = CliRunner().invoke(app, ["digits", "--store", str(store)])
    assert isinstance(again.exception, ArchiveError)
