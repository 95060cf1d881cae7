"""What an attack has spent and seen."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from holdfast.attacks.parameters import Cost


@dataclass
class Tally:
    """Over the images of a batch.

    Attributes:
        queries: (n,) images shown to the model on behalf of each image.
        fooled_by: (n,) str, the part of an ensemble that fooled each image; empty where none did.
        forwards: Forward passes of its network, those before a backward pass included.
        backwards: Backward passes.
        zeros: Images that were attacked blindly: of the gradients at them before they were fooled, more than
            half were exactly zero, or no number.
        gradients: Images that were attacked by gradient at all; of an ensemble, once for each such attack.
        unanswered: Answers with a NaN among the logits.
    """

    queries: np.ndarray
    fooled_by: np.ndarray
    forwards: int = 0
    backwards: int = 0
    zeros: int = 0
    gradients: int = 0
    unanswered: int = 0

    #: (n,) gradients at each image that one attack has seen, and those of them that lead nowhere.
    _seen: np.ndarray = field(init=False, repr=False)
    _blind: np.ndarray = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._seen, self._blind = np.zeros_like(self.queries), np.zeros_like(self.queries)

    @classmethod
    def of(cls, images: int) -> Tally:
        """Nothing spent yet."""
        return cls(np.zeros(images, dtype=np.int64), np.full(images, "", dtype=object))

    def ask(self, places: np.ndarray, questions: int, passes: Cost) -> None:
        """Count so many questions and passes for each of the places (k,), which may repeat themselves."""
        np.add.at(self.queries, places, questions)
        self.forwards += passes.forwards * len(places)
        self.backwards += passes.backwards * len(places)

    def see(self, places: np.ndarray, blind: np.ndarray) -> None:
        """Take in gradients at images that are not fooled.

        Args:
            places: (k,) the images.
            blind: (k,) bool, which of the gradients lead nowhere.
        """
        np.add.at(self._seen, places, 1)
        np.add.at(self._blind, places[blind], 1)

    def settle(self) -> None:
        """At an attack's end, add up the images that it followed a gradient at, and those with hardly any."""
        self.gradients += int(np.count_nonzero(self._seen))
        self.zeros += int(np.count_nonzero(2 * self._blind > self._seen))
        self._seen[:], self._blind[:] = 0, 0
