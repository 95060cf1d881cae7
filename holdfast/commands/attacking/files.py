"""What ``holdfast attack`` writes.

    DIR/attack.json                            the record
    DIR/<attack>/adversarial/<place>.png       the result, lossless in 8 bits
    DIR/<attack>/perturbation/<place>.x16.png  what was changed, 16 times larger than life
    DIR/<attack>/float/<place>.npy             the exact result, on request

``<place>`` is the image's path below the folder that was named. So the adversarial images of a folder with
one subfolder for each class are such a folder again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from holdfast import npy
from holdfast.attacking.record import FilesRecord, Record
from holdfast.errors import HoldfastError, UsageError
from holdfast.image_files import ImageFile
from holdfast.images import encode_png
from holdfast.pictures import perturbation_picture

RECORD = "attack.json"


class OutputFolder:
    """A folder for the results of one run. Make one with :meth:`prepare`.

    Args:
        root: The folder, which is there.
        stems: The place of each image, without its suffix and unlike that of any other.
        float_images: Whether to write the exact results too.
    """

    def __init__(self, root: Path, stems: dict[ImageFile, str], *, float_images: bool) -> None:
        self.root = root
        self._stems = stems
        self._float_images = float_images

    @classmethod
    def prepare(
        cls, root: Path, files: Sequence[ImageFile], *, float_images: bool = False, force: bool = False
    ) -> OutputFolder:
        """Make the folder, or take an empty one.

        Args:
            root: Where.
            files: The images that there will be results of.
            float_images: Whether to write the exact results too.
            force: Take a folder that is not empty. What an earlier run's record lists is removed from it;
                other files stay.

        Raises:
            UsageError: There is something in it, and ``force`` is not said.
            HoldfastError: The folder cannot be made or written to.
        """
        try:
            root.mkdir(parents=True, exist_ok=True)
            if any(root.iterdir()):
                if not force:
                    raise UsageError(
                        f"{root} is not empty.", hint="Name another folder, or write into it with --force."
                    )
                _remove_earlier(root)
        except OSError as error:
            raise _cannot_write(root, error) from None
        return cls(root, _stems(files), float_images=float_images)

    def write(
        self,
        attack: str,
        file: ImageFile,
        original: NDArray[np.float32],
        adversarial: NDArray[np.float32],
        extent: float | None,
    ) -> FilesRecord:
        """Write the results for one image.

        Args:
            attack: The attack's name.
            file: The image.
            original: (channels, height, width), as the model took it.
            adversarial: The same, attacked.
            extent: See :func:`holdfast.pictures.perturbation_picture`.

        Raises:
            HoldfastError: A file cannot be written.
        """
        picture = perturbation_picture(original, adversarial, extent)
        record = self.write_pictures(attack, file, encode_png(adversarial), picture.png(), picture.scale)
        if record.float_image is not None:
            self._put(record.float_image, npy.encode(adversarial[None]))
        return record

    def write_pictures(
        self, attack: str, file: ImageFile, adversarial: bytes, perturbation: bytes, scale: float
    ) -> FilesRecord:
        """Write an adversarial image, and what was changed, ``scale`` times larger than life; both are PNG.

        Raises:
            HoldfastError: A file cannot be written.
        """
        stem = self._stems[file]
        record = FilesRecord(
            adversarial=f"{attack}/adversarial/{stem}.png",
            perturbation=f"{attack}/perturbation/{stem}.x{scale:.3g}.png",
            perturbation_scale=scale,
            float_image=f"{attack}/float/{stem}.npy" if self._float_images else None,
        )
        self._put(record.adversarial, adversarial)
        self._put(record.perturbation, perturbation)
        return record

    def write_record(self, record: Record) -> None:
        """Write the record: whole, or not at all."""
        text = record.model_dump_json(indent=2) + "\n"
        self._put(f".{RECORD}.part", text.encode())
        (self.root / f".{RECORD}.part").replace(self.root / RECORD)

    def _put(self, name: str, data: bytes) -> None:
        path = self.root / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        except OSError as error:
            raise _cannot_write(path, error) from None


def _stems(files: Sequence[ImageFile]) -> dict[ImageFile, str]:
    """A name for each image's results; of images with the same place, later ones get a number."""
    stems: dict[ImageFile, str] = {}
    taken: set[str] = set()
    for file in files:
        wanted = file.place.with_suffix("").as_posix()
        stem, number = wanted, 2
        # Without regard to case, because some file systems have none.
        while stem.casefold() in taken:
            stem, number = f"{wanted}-{number}", number + 1
        taken.add(stem.casefold())
        stems[file] = stem
    return stems


def _remove_earlier(root: Path) -> None:
    """Remove what the record of an earlier run lists, so that its results do not mix with the new ones."""
    try:
        record = Record.model_validate_json((root / RECORD).read_bytes())
    except (FileNotFoundError, ValidationError):
        return
    inside = root.resolve()
    for attack in record.attacks:
        for result in attack.results:
            for name in _listed(result.files):
                path = (root / name).resolve()
                if path.is_relative_to(inside):
                    path.unlink(missing_ok=True)
    (root / RECORD).unlink()


def _listed(files: FilesRecord | None) -> list[Any]:
    names = () if files is None else (files.adversarial, files.perturbation, files.float_image)
    return [name for name in names if name is not None]


def _cannot_write(path: Path, error: OSError) -> HoldfastError:
    return HoldfastError(
        f"{path} cannot be written: {error.strerror or error}.", hint="Name another folder with --out."
    )
