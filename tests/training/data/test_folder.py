"""Data sets from a folder of image files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from holdfast.images import decode
from holdfast.manifest import InputSpec
from training.data import DataError, load


def write(path: Path, *, size: tuple[int, int] = (6, 8), seed: int = 0, grey: bool = False) -> np.ndarray:
    """Write a random image of ``(height, width)`` and return its pixels, (height, width[, 3])."""
    shape = size if grey else (*size, 3)
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return pixels


def make_tree(root: Path, *, per_class: int = 5, grey: bool = False) -> dict[str, list[np.ndarray]]:
    """Two classes of images directly under ``root``; the pixels of each class in the order of file names."""
    return {
        name: [write(root / name / f"{i}.png", seed=10 * k + i, grey=grey) for i in range(per_class)]
        for k, name in enumerate(("cat", "dog"))
    }


def test_a_ready_split_is_read_as_it_is_laid_out(tmp_path: Path) -> None:
    train, test = make_tree(tmp_path / "train"), make_tree(tmp_path / "test", per_class=2)
    dataset = load(f"folder:{tmp_path}")
    assert dataset.classes == ("cat", "dog")
    assert dataset.train.labels.tolist() == [0] * 5 + [1] * 5
    assert dataset.test.labels.tolist() == [0, 0, 1, 1]
    for split, files in ((dataset.train, train), (dataset.test, test)):
        expected = np.stack([*files["cat"], *files["dog"]]).transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(split.images, expected)
    assert not dataset.augmentation


def test_the_held_out_folder_may_be_called_val(tmp_path: Path) -> None:
    make_tree(tmp_path / "train")
    make_tree(tmp_path / "val", per_class=1)
    assert len(load(f"folder:{tmp_path}").test) == 2


def test_a_folder_of_classes_is_split_by_class_and_by_seed(tmp_path: Path) -> None:
    make_tree(tmp_path, per_class=10)
    dataset = load(f"folder:{tmp_path}")
    assert np.bincount(dataset.train.labels).tolist() == [8, 8]
    assert np.bincount(dataset.test.labels).tolist() == [2, 2]
    assert load(f"folder:{tmp_path}", seed=0).digest == dataset.digest
    assert load(f"folder:{tmp_path}", seed=1).digest != dataset.digest
    assert np.bincount(load(f"folder:{tmp_path}", test_fraction=0.5).test.labels).tolist() == [5, 5]
    assert "0.2 held out, seed 0" in dataset.note


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    for name in ("car", "train"):
        for index in range(3):
            write(tmp_path / name / f"{index}.png", seed=index)
    assert load(f"folder:{tmp_path}").classes == ("car", "train")


def test_grey_images_have_one_channel_unless_asked_for_three(tmp_path: Path) -> None:
    pixels = make_tree(tmp_path, grey=True)
    grey = load(f"folder:{tmp_path}", test_fraction=0.2)
    assert grey.shape == (1, 6, 8)
    seen = {image.tobytes() for split in (grey.train, grey.test) for image in split.images}
    assert seen == {image.tobytes() for images in pixels.values() for image in images}
    colour = load(f"folder:{tmp_path}", channels=3)
    np.testing.assert_array_equal(colour.train.images, np.repeat(grey.train.images, 3, axis=1))


def test_one_image_in_colour_makes_the_set_one_of_colour(tmp_path: Path) -> None:
    make_tree(tmp_path, grey=True)
    write(tmp_path / "dog" / "9.png")
    assert load(f"folder:{tmp_path}").shape == (3, 6, 8)
    assert load(f"folder:{tmp_path}", channels=1).shape == (1, 6, 8)


def test_images_are_resized_as_the_served_model_will_resize_them(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        write(tmp_path / "train" / name / "a.png", size=(20, 31), seed=1)
        write(tmp_path / "test" / name / "a.png", size=(9, 9), seed=2)
    dataset = load(f"folder:{tmp_path}", size=(10, 12))
    spec = InputSpec(channels=3, height=10, width=12)
    served = decode((tmp_path / "train" / "cat" / "a.png").read_bytes(), spec)
    assert dataset.shape == (3, 10, 12)
    np.testing.assert_allclose(dataset.train.images[0] / 255, served, atol=0.5 / 255 + 1e-6)
    assert "4 of 4 images were resized" in dataset.note
    assert load(f"folder:{tmp_path}", size=16).shape == (3, 16, 16)


def test_images_of_several_sizes_need_a_size(tmp_path: Path) -> None:
    make_tree(tmp_path)
    write(tmp_path / "dog" / "9.png", size=(12, 12))
    with pytest.raises(DataError, match=r"differ in size, e\.g\. 6x8 and 12x12") as caught:
        load(f"folder:{tmp_path}")
    assert "size" in caught.value.hint


def test_an_image_that_lies_on_its_side_counts_as_it_is_shown(tmp_path: Path) -> None:
    make_tree(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 8)).save(tmp_path / "dog" / "9.jpg", exif=exif)  # stored 8 high, shown 6 high
    assert load(f"folder:{tmp_path}").shape == (3, 6, 8)


def test_formats_mix_and_nested_files_count(tmp_path: Path) -> None:
    make_tree(tmp_path / "train")
    make_tree(tmp_path / "test")
    for name in ("deep/er/a.JPEG", "b.webp", "c.jpg"):
        write(tmp_path / "train" / "cat" / name)
    assert len(load(f"folder:{tmp_path}").train) == 13


def test_hidden_files_are_passed_over_and_other_kinds_are_counted(tmp_path: Path) -> None:
    make_tree(tmp_path)
    whole = load(f"folder:{tmp_path}")
    (tmp_path / "cat" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "cat" / ".thumbnails").mkdir()
    write(tmp_path / "cat" / ".thumbnails" / "0.png")
    write(tmp_path / ".cache" / "0.png")
    (tmp_path / "cat" / "notes.txt").write_text("x")
    (tmp_path / "readme.md").write_text("x")
    again = load(f"folder:{tmp_path}")
    assert again.digest == whole.digest
    assert "1 files of other kinds were left out" in again.note


def test_a_file_that_is_no_image_is_named(tmp_path: Path) -> None:
    make_tree(tmp_path)
    (tmp_path / "cat" / "7.png").write_bytes(b"this is text")
    with pytest.raises(DataError, match=r"cat/7\.png cannot be read: The bytes are not an image"):
        load(f"folder:{tmp_path}")


def test_a_damaged_image_is_named(tmp_path: Path) -> None:
    make_tree(tmp_path)
    file = tmp_path / "cat" / "3.png"
    content = bytearray(file.read_bytes())
    content[content.index(b"IDAT") + 8] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(DataError, match=r"cat/3\.png cannot be read"):
        load(f"folder:{tmp_path}")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"There is no 'absent'"):
        load("folder:absent", tmp_path)


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a.png")
    with pytest.raises(DataError, match="is a file, not a folder"):
        load(f"folder:{tmp_path / 'a.png'}")


def test_fewer_than_two_classes_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "only" / "a.png")
    with pytest.raises(DataError, match="1 class folders; two or more") as caught:
        load(f"folder:{tmp_path}")
    assert "train/<class>" in caught.value.hint
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="0 class folders"):
        load(f"folder:{tmp_path / 'empty'}")


def test_an_empty_class_folder_is_refused(tmp_path: Path) -> None:
    make_tree(tmp_path)
    (tmp_path / "owl").mkdir()
    with pytest.raises(DataError, match=r"class folder .*owl holds no image"):
        load(f"folder:{tmp_path}")


def test_an_empty_test_folder_is_refused_rather_than_filled(tmp_path: Path) -> None:
    make_tree(tmp_path / "train")
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match="test holds no class folder"):
        load(f"folder:{tmp_path}")


def test_a_class_that_is_only_tested_is_refused(tmp_path: Path) -> None:
    make_tree(tmp_path / "train")
    make_tree(tmp_path / "test")
    write(tmp_path / "test" / "owl" / "a.png")
    with pytest.raises(DataError, match="has a class 'owl'"):
        load(f"folder:{tmp_path}")


def test_a_set_that_does_not_fit_into_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tree(tmp_path)
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 3, "SC_PAGE_SIZE": 4096}.__getitem__)
    with pytest.raises(DataError, match="of memory") as caught:
        load(f"folder:{tmp_path}", size=64)
    assert "smaller size" in caught.value.hint


def test_images_larger_than_a_model_takes_need_a_size(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        for index in range(2):
            write(tmp_path / name / f"{index}.png", size=(1, 5000))
    with pytest.raises(DataError, match="at most 4096 a side"):
        load(f"folder:{tmp_path}")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"size": 0}, "size"), ({"size": (8, 5000)}, "size"), ({"channels": 2}, "1 or 3 channels")],
)
def test_a_size_or_channel_count_out_of_range_is_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        load(f"folder:{tmp_path}", **options)
