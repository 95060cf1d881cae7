"""``<name>.mar``: a bundle packed for TorchServe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from holdfast.archive import (
    FILES,
    HANDLER,
    MAR_MANIFEST,
    RECORD,
    SETTINGS,
    ArchiveError,
    ArchiveRecord,
    WorkerSettings,
    expected_model,
)
from holdfast.bundle import MANIFEST, PREDICT, TORCHSCRIPT, WEIGHTS, Bundle, describe_files
from holdfast.errors import MissingExtraError
from holdfast.sessions import open_session
from holdfast.version import __version__

#: Largest difference of a logit between ``model.pt`` and ``predict.onnx``.
TOLERANCE = 1e-4
#: Batches that the two are compared on.
BATCH_SIZES = (1, 2, 7)

_ARCHIVER = "model_archiver.model_packaging"
_HANDLER_SOURCE = Path(__file__).resolve().parents[1] / "serving" / "torchserve" / HANDLER
_OLDEST_ZIP_DATE = (1980, 1, 1, 0, 0, 0)

#: Told what is being done, for a person who waits.
Progress = Callable[[str], None]


def archive(
    bundle: Bundle,
    output: Path,
    *,
    settings: WorkerSettings | None = None,
    force: bool = False,
    progress: Progress = lambda _step: None,
) -> Path:
    """Pack ``bundle`` as ``output/<name>.mar``.

    The network is rebuilt from the weights, written as TorchScript, held against ``predict.onnx``, and packed
    with torch-model-archiver. The file appears whole or not at all, and the same bundle and libraries give
    the same bytes.

    Args:
        bundle: An opened bundle.
        output: The directory for the archive; it is made where it is not there.
        settings: How TorchServe is to run it.
        force: Replace an archive that is there.
        progress: Called with each step's name.

    Returns:
        The archive's path.

    Raises:
        ArchiveError: An archive is there already, TorchScript and graph disagree, or packing failed.
        BundleError: The network cannot be built again.
        ExportError: The network cannot be written as TorchScript.
        MissingExtraError: PyTorch or torch-model-archiver is not installed.
    """
    target = output / f"{bundle.name}.mar"
    if target.exists() and not force:
        raise ArchiveError(f"{target} exists already.", hint="Replace it with --force.")
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="holdfast-archive-") as scratch:
        staging = Path(scratch) / "files"
        staging.mkdir()
        progress("Writing TorchScript")
        _write_torchscript(bundle, staging / TORCHSCRIPT)
        progress("Comparing it with the ONNX graph")
        compare(bundle, staging / TORCHSCRIPT)
        progress("Packing")
        (staging / MANIFEST).write_bytes((bundle.root / MANIFEST).read_bytes())
        (staging / HANDLER).write_bytes(_HANDLER_SOURCE.read_bytes())
        (staging / SETTINGS).write_text((settings or WorkerSettings()).to_yaml(), encoding="utf-8")
        record = ArchiveRecord(
            name=bundle.name,
            version=bundle.version,
            weights=bundle.manifest.files[WEIGHTS].sha256,
            holdfast=__version__,
            files=describe_files(staging, list(FILES)),
        )
        (staging / RECORD).write_text(record.to_json(), encoding="utf-8")
        _write_reproducibly(_pack(staging, record), target, record, bundle)
    return target


def compare(bundle: Bundle, torchscript: Path) -> float:
    """Hold a TorchScript file against the bundle's ``predict.onnx`` on random images.

    Returns:
        The largest difference of a logit.

    Raises:
        ArchiveError: It is larger than :data:`TOLERANCE`.
    """
    import torch

    loaded = _load(torchscript)
    session = open_session(bundle, PREDICT, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    largest = 0.0
    for size in BATCH_SIZES:
        images = generator.random((size, *bundle.manifest.input.shape), dtype=np.float32)
        (expected,) = session.run(["logits"], {"images": images})
        with torch.no_grad():
            found = loaded(torch.from_numpy(images)).numpy()
        difference = float(np.abs(expected - found).max()) if expected.shape == found.shape else float("inf")
        # Written so that a difference that is not a number is refused too.
        if not difference <= TOLERANCE:
            raise ArchiveError(
                f"The TorchScript of {bundle.name} version {bundle.version} differs from its {PREDICT} by "
                f"{difference:.3g}; at most {TOLERANCE:g} is allowed.",
                hint="Export the bundle again with this Holdfast: holdfast export",
            )
        largest = max(largest, difference)
    return largest


def _write_torchscript(bundle: Bundle, path: Path) -> None:
    if bundle.manifest.imported is not None and TORCHSCRIPT in bundle.manifest.files:
        path.write_bytes(bundle.path(TORCHSCRIPT).read_bytes())  # it cannot be written again without its code
        return
    try:
        import torch

        from training.rebuild import rebuild
        from training.torchscript import write_torchscript
    except ModuleNotFoundError as error:
        raise MissingExtraError(error.name or "torch", "torchserve", "Archiving a bundle") from None
    example = torch.rand((2, *bundle.manifest.input.shape), generator=torch.Generator().manual_seed(0))
    write_torchscript(rebuild(bundle), path, example)


def _load(path: Path):  # type: ignore[no-untyped-def]  # TorchScript's type depends on torch, which is optional
    import warnings

    import torch

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.")  # TorchServe 0.12 knows no other format
        return torch.jit.load(path, map_location="cpu").eval()  # type: ignore[no-untyped-call]


def _pack(staging: Path, record: ArchiveRecord) -> Path:
    """Run torch-model-archiver over the staged files.

    It runs as a process of its own, in the staging directory and with a temporary directory of its own: it
    empties ``<temporary directory>/<model name>`` whatever that is, and splits paths at commas.
    """
    packed, temporary = staging.parent / "packed", staging.parent / "tmp"
    packed.mkdir()
    temporary.mkdir()
    extra = [name for name in (*FILES, RECORD) if name not in (TORCHSCRIPT, HANDLER, SETTINGS)]
    command = [sys.executable, "-m", _ARCHIVER, "--model-name", record.name, "--version", record.version]
    command += ["--serialized-file", TORCHSCRIPT, "--handler", HANDLER, "--config-file", SETTINGS]
    command += ["--extra-files", ",".join(extra), "--export-path", str(packed)]
    command += ["--archive-format", "zip-store"]
    environment = os.environ | {"TMPDIR": str(temporary)}
    done = subprocess.run(  # noqa: S603 - our own interpreter, and names that the manifest's patterns allow
        command, cwd=staging, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["it said nothing"]
        if _ARCHIVER.partition(".")[0] in lines[-1] and "No module named" in lines[-1]:
            raise MissingExtraError("torch-model-archiver", "torchserve", "Archiving a bundle")
        raise ArchiveError(f"torch-model-archiver failed: {lines[-1]}")
    return packed / f"{record.name}.mar"


def _write_reproducibly(packed: Path, target: Path, record: ArchiveRecord, bundle: Bundle) -> None:
    """Write the packed files again in a fixed order and with the bundle's date, and put them in place."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with zipfile.ZipFile(packed) as source, zipfile.ZipFile(temporary, "w") as result:
            for name in (RECORD, MAR_MANIFEST, *FILES):
                data = source.read(name)
                if name == MAR_MANIFEST:
                    data = _dated(data, record, bundle)
                entry = zipfile.ZipInfo(name, _OLDEST_ZIP_DATE)
                entry.external_attr = 0o644 << 16
                # Weights do not shrink; everything else does.
                entry.compress_type = zipfile.ZIP_STORED if name == TORCHSCRIPT else zipfile.ZIP_DEFLATED
                result.writestr(entry, data)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _dated(mar_manifest: bytes, record: ArchiveRecord, bundle: Bundle) -> bytes:
    manifest = json.loads(mar_manifest)
    if manifest["model"] != expected_model(record):
        raise ArchiveError("torch-model-archiver wrote a manifest that does not describe what it was given.")
    manifest["createdOn"] = bundle.manifest.created.strftime("%d/%m/%Y %H:%M:%S")
    return (json.dumps(manifest, indent=2) + "\n").encode()
