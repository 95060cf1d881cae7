"""Colours that everybody tells apart, and figures that are the same every time."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from training.figures import style

#: Machado, Oliveira and Fernandes 2009, full severity, on linear RGB.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


def seen(colour: str, vision: str) -> np.ndarray:
    """The colour in CIE L*a*b*, as somebody of that vision sees it."""
    coded = np.array([int(colour[start : start + 2], 16) for start in (1, 3, 5)]) / 255
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    linear = np.clip(np.asarray(VISIONS[vision]) @ linear, 0, 1)
    to_xyz = [[0.4125, 0.3576, 0.1804], [0.2127, 0.7152, 0.0722], [0.0193, 0.1192, 0.9503]]
    x, y, z = np.asarray(to_xyz) @ linear / [0.9505, 1.0, 1.0888]
    fx, fy, fz = (np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


@pytest.mark.parametrize("vision", VISIONS)
@pytest.mark.parametrize(("colours", "apart"), [(style.COLOURS, 20), (style.CLASSES, 15)])
def test_colours_are_told_apart(colours: tuple[str, ...], apart: float, vision: str) -> None:
    for one, other in combinations(colours, 2):
        distance = np.linalg.norm(seen(one, vision) - seen(other, vision))
        assert distance > apart, f"{one} and {other} look alike with {vision}"


def test_red_and_green_would_not_have_done() -> None:
    distance = np.linalg.norm(seen("#b5651d", "deuteranopia") - seen("#7a8a1a", "deuteranopia"))
    assert distance < 15
