"""CIFAR, SVHN and MNIST: made-up files of the published formats, and the real ones where they are at hand."""

from __future__ import annotations

import hashlib
import os
import pickle
import struct
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat
from torchvision import datasets

from holdfast.errors import MissingExtraError
from training.data import Augmentation, DataError, Dataset, load


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def random_images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


class OldArray:
    """A uint8 array that pickles as NumPy 1 wrote it, which is what the published CIFAR files hold."""

    class Dtype:
        def __reduce__(self) -> tuple[Any, ...]:
            return np.dtype, ("u1", 0, 1), (3, "|", None, None, None, -1, -1, 0)

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __reduce__(self) -> tuple[Any, ...]:
        make, arguments = self.array.__reduce__()[:2]
        return make, arguments, (1, self.array.shape, self.Dtype(), False, self.array.tobytes())


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, np.ndarray, np.ndarray]:
    """A folder in CIFAR-10's format, five training files and a test file of 4 images each, and its arrays."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    images, labels = random_images(24, 3, 32, 32), np.arange(24) % 10
    listed = []
    for index, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        part = slice(4 * index, 4 * index + 4)
        entry = {"data": OldArray(images[part].reshape(4, 3072)), "labels": labels[part].tolist()}
        (folder / name).write_bytes(pickle.dumps(entry, protocol=2))
        listed.append([name, md5(folder / name)])
    meta = {"label_names": [f"class {i}" for i in range(10)]}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=2))
    monkeypatch.setattr(datasets.CIFAR10, "train_list", listed[:5])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", listed[5:])
    monkeypatch.setattr(
        datasets.CIFAR10, "meta", {**datasets.CIFAR10.meta, "md5": md5(folder / "batches.meta")}
    )
    return tmp_path, images, labels


def test_cifar10_is_read_in_the_published_order(cifar: tuple[Path, np.ndarray, np.ndarray]) -> None:
    root, images, labels = cifar
    dataset = load("cifar10", root)
    np.testing.assert_array_equal(dataset.train.images, images[:20])
    np.testing.assert_array_equal(dataset.test.images, images[20:])
    np.testing.assert_array_equal(dataset.train.labels, labels[:20])
    np.testing.assert_array_equal(dataset.test.labels, labels[20:])
    assert dataset.classes == tuple(f"class {i}" for i in range(10))
    assert dataset.augmentation == Augmentation(crop=4, flip=True)


def test_cifar10_with_a_changed_byte_is_called_damaged_and_never_unpickled(
    cifar: tuple[Path, np.ndarray, np.ndarray],
) -> None:
    root = cifar[0]
    witness = root / "it-ran"

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(witness),)

    (root / "cifar-10-batches-py" / "data_batch_3").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DataError, match="are damaged"):
        load("cifar10", root)
    assert not witness.exists()


def test_every_missing_file_of_cifar10_is_named_with_the_fix(
    cifar: tuple[Path, np.ndarray, np.ndarray],
) -> None:
    root = cifar[0]
    (root / "cifar-10-batches-py" / "data_batch_2").unlink()
    (root / "cifar-10-batches-py" / "test_batch").unlink()
    with pytest.raises(DataError, match=r": data_batch_2, test_batch missing in .*cifar10\.npz") as caught:
        load("cifar10", root)
    assert "data_batch_1" not in caught.value.message
    for way in ("--data-root", "HOLDFAST_DATA", "--download", "digits"):
        assert way in caught.value.hint


def test_an_array_file_of_cifar10_is_read_before_the_published_files(
    cifar: tuple[Path, np.ndarray, np.ndarray],
) -> None:
    root = cifar[0]
    names = np.array([f"name {i}" for i in range(10)])
    arrays = {
        "train_images": random_images(12, 32, 32, 3, seed=5),
        "train_labels": np.arange(12) % 10,
        "test_images": random_images(3, 32, 32, 3, seed=6),
        "test_labels": np.arange(3),
        "class_names": names,
        "test_exact": np.array([True, False, True]),
    }
    np.savez(root / "cifar10.npz", **arrays)
    dataset = load("cifar10", root)
    np.testing.assert_array_equal(dataset.train.images, arrays["train_images"].transpose(0, 3, 1, 2))
    assert dataset.name == "cifar10"
    assert dataset.classes == tuple(names)
    assert len(dataset.test.only_exact()) == 2
    assert dataset.augmentation == Augmentation(crop=4, flip=True)


def test_an_array_file_of_something_else_is_not_taken_for_cifar10(tmp_path: Path) -> None:
    images, labels = random_images(4, 28, 28, 1), np.arange(4)
    np.savez(
        tmp_path / "cifar10.npz",
        train_images=images,
        train_labels=labels,
        test_images=images,
        test_labels=labels,
    )
    with pytest.raises(DataError, match="is not CIFAR-10") as caught:
        load("cifar10", tmp_path)
    assert "npz:" in caught.value.hint


def test_cifar100_is_read_with_its_fine_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    images = random_images(6, 3, 32, 32)
    for name, part in (("train", slice(0, 4)), ("test", slice(4, 6))):
        fine = (np.arange(6)[part] * 19).tolist()
        entry = {
            "data": OldArray(images[part].reshape(-1, 3072)),
            "fine_labels": fine,
            "coarse_labels": [0] * len(fine),
        }
        (folder / name).write_bytes(pickle.dumps(entry, protocol=2))
        listed = [[name, md5(folder / name)]]
        monkeypatch.setattr(datasets.CIFAR100, f"{name}_list", listed)
    (folder / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"fine {i}" for i in range(100)]}, 2))
    monkeypatch.setattr(datasets.CIFAR100, "meta", {**datasets.CIFAR100.meta, "md5": md5(folder / "meta")})
    dataset = load("cifar100", tmp_path)
    assert dataset.train.labels.tolist() == [0, 19, 38, 57]
    assert dataset.test.labels.tolist() == [76, 95]
    np.testing.assert_array_equal(dataset.test.images, images[4:])
    assert len(dataset.classes) == 100
    assert dataset.augmentation == Augmentation(crop=4, flip=True)


def write_svhn(
    root: Path, address: str = "http://127.0.0.1:1"
) -> dict[str, tuple[np.ndarray, np.ndarray, list[str]]]:
    """Both files in SVHN's format; for each split its images, its labels, and torchvision's entry for it."""
    made = {}
    for seed, (split, labels) in enumerate({"train": [10, 1, 9, 10], "test": [2, 10]}.items()):
        images = random_images(len(labels), 3, 32, 32, seed=seed)
        file = root / f"{split}_32x32.mat"
        savemat(file, {"X": images.transpose(2, 3, 1, 0), "y": np.array(labels, dtype=np.uint8)[:, None]})
        made[split] = (images, np.array(labels) % 10, [f"{address}/{file.name}", file.name, md5(file)])
    return made


def test_svhn_is_read_with_the_digit_zero_as_class_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = write_svhn(tmp_path)
    monkeypatch.setattr(datasets.SVHN, "split_list", {split: made[split][2] for split in made})
    dataset = load("svhn", tmp_path)
    for which, split in (("train", dataset.train), ("test", dataset.test)):
        np.testing.assert_array_equal(split.images, made[which][0])
        np.testing.assert_array_equal(split.labels, made[which][1])
    assert dataset.classes == tuple("0123456789")


def test_house_numbers_are_cropped_but_never_mirrored_unless_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = write_svhn(tmp_path)
    monkeypatch.setattr(datasets.SVHN, "split_list", {split: made[split][2] for split in made})
    assert load("svhn", tmp_path).augmentation == Augmentation(crop=4, flip=False)
    assert not load("svhn", tmp_path, crop=0).augmentation
    assert load("svhn", tmp_path, flip=True).augmentation == Augmentation(crop=4, flip=True)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """An HTTP server on loopback; its address, and the folder that it serves."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            """Keep the test's output clean."""

    folder = tmp_path / "site"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()
        thread.join()


def test_svhn_without_the_library_that_reads_it_comes_with_the_command_that_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = write_svhn(tmp_path)
    monkeypatch.setattr(datasets.SVHN, "split_list", {split: made[split][2] for split in made})
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(MissingExtraError, match="'scipy'") as caught:
        load("svhn", tmp_path)
    assert "holdfast[train]" in caught.value.hint


def test_files_are_fetched_only_when_asked(
    tmp_path: Path, site: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = site
    made = write_svhn(folder, address)
    monkeypatch.setattr(datasets.SVHN, "split_list", {split: made[split][2] for split in made})
    root = tmp_path / "root"
    with pytest.raises(DataError, match="is not there"):
        load("svhn", root)
    assert not root.exists()
    np.testing.assert_array_equal(load("svhn", root, download=True).train.images, made["train"][0])
    np.testing.assert_array_equal(load("svhn", root).train.images, made["train"][0])


def test_a_download_that_fails_says_where_to_put_the_files(
    tmp_path: Path, site: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, folder = site
    made = write_svhn(folder, address)
    monkeypatch.setattr(datasets.SVHN, "split_list", {split: made[split][2] for split in made})
    (folder / "test_32x32.mat").unlink()
    with pytest.raises(DataError, match="could not be downloaded") as caught:
        load("svhn", tmp_path / "root", download=True)
    assert str(tmp_path / "root" / "test_32x32.mat") in caught.value.hint
    assert "train_32x32.mat" not in caught.value.hint


def write_mnist(root: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The four files in MNIST's format; for each split its images (n, 28, 28) and labels."""
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    made = {}
    for stem, count in (("train", 5), ("t10k", 3)):
        images, labels = random_images(count, 28, 28, seed=count), np.arange(count, dtype=np.uint8)
        (folder / f"{stem}-images-idx3-ubyte").write_bytes(
            struct.pack(">IIII", 0x803, count, 28, 28) + images.tobytes()
        )
        (folder / f"{stem}-labels-idx1-ubyte").write_bytes(
            struct.pack(">II", 0x801, count) + labels.tobytes()
        )
        made[stem] = (images, labels)
    return made


def test_mnist_is_read_with_one_channel_and_is_not_augmented(tmp_path: Path) -> None:
    made = write_mnist(tmp_path)
    dataset = load("mnist", tmp_path)
    for stem, split in (("train", dataset.train), ("t10k", dataset.test)):
        np.testing.assert_array_equal(split.images, made[stem][0][:, None])
        np.testing.assert_array_equal(split.labels, made[stem][1])
    assert dataset.shape == (1, 28, 28)
    assert dataset.classes == tuple("0123456789")
    assert not dataset.augmentation


def test_a_truncated_mnist_file_is_called_damaged(tmp_path: Path) -> None:
    write_mnist(tmp_path)
    file = tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(DataError, match="are damaged") as caught:
        load("mnist", tmp_path)
    assert "fetch them again" in caught.value.hint
    file.write_bytes(b"")
    with pytest.raises(DataError, match="are damaged"):
        load("mnist", tmp_path)


def test_mnist_files_that_are_still_compressed_come_with_the_command_that_unpacks_them(
    tmp_path: Path,
) -> None:
    write_mnist(tmp_path)
    folder = tmp_path / "MNIST" / "raw"
    for file in list(folder.iterdir()):
        file.rename(file.with_name(file.name + ".gz"))
    with pytest.raises(DataError, match="still compressed") as caught:
        load("mnist", tmp_path)
    assert f"gunzip --keep {folder}/*.gz" in caught.value.hint


def real(name: str, *files: str) -> Dataset:
    """A real data set, or the test is skipped."""
    root = os.environ.get("HOLDFAST_DATA")
    if not root:
        pytest.skip(f"HOLDFAST_DATA is not set: the real {name} is not at hand")
    if not any((Path(root) / file).exists() for file in files):
        pytest.skip(f"HOLDFAST_DATA={root} has no {name}")
    return load(name)


def test_the_real_cifar10_is_whole() -> None:
    dataset = real("cifar10", "cifar10.npz", "cifar-10-batches-py")
    assert (len(dataset.train), len(dataset.test)) == (50_000, 10_000)
    assert dataset.shape == (3, 32, 32)
    assert dataset.classes[:3] == ("airplane", "automobile", "bird")
    assert np.bincount(dataset.train.labels).tolist() == [5000] * 10
    assert np.bincount(dataset.test.labels).tolist() == [1000] * 10
    assert dataset.train.labels[:5].tolist() == [6, 9, 9, 4, 1]
    # The figures that everyone normalises CIFAR-10 with.
    np.testing.assert_allclose(dataset.mean, (0.4914, 0.4822, 0.4465), atol=5e-5)
    np.testing.assert_allclose(dataset.std, (0.2470, 0.2435, 0.2616), atol=5e-5)
    assert len(dataset.test.only_exact()) >= 9_980


def test_the_real_mnist_is_whole() -> None:
    dataset = real("mnist", "MNIST/raw")
    assert (len(dataset.train), len(dataset.test)) == (60_000, 10_000)
    assert dataset.train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    np.testing.assert_allclose(dataset.mean, (0.1307,), atol=5e-5)
    np.testing.assert_allclose(dataset.std, (0.3081,), atol=5e-5)
