"""The smallest perturbation found so far, image by image: what an attack that minimises a norm keeps."""

from __future__ import annotations

import numpy as np

from holdfast.attacks.arrays import copy, put, take
from holdfast.attacks.oracle import Array


class Nearest:
    """The nearest adversarial images found so far.

    Args:
        originals: (n, c, h, w); given back as they are where nothing is found.

    Attributes:
        images: (n, c, h, w).
        norms: (n,) on the host; infinite where nothing is found.
    """

    def __init__(self, originals: Array) -> None:
        self.images = copy(originals)
        self.norms = np.full(originals.shape[0], np.inf)

    def offer(self, images: Array, norms: np.ndarray, fooled: np.ndarray, rows: np.ndarray) -> None:
        """Keep what fools the model from nearer than anything before.

        Args:
            images: (k, c, h, w), made from the originals ``rows``, none of which stands there twice.
            norms: (k,) on the host, of the perturbations.
            fooled: (k,) on the host.
            rows: (k,).
        """
        better = np.flatnonzero(fooled & (norms < self.norms[rows]))
        if len(better):
            put(self.images, rows[better], take(images, better))
            self.norms[rows[better]] = norms[better]
