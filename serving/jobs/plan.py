"""A campaign that was understood: which runs, over which images, in which chunks."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from holdfast.attacking.parameters import Chosen
from holdfast.attacks.parameters import announced
from holdfast.bundle import Bundle
from holdfast.manifest import Defence

#: Where the labels are from: each model's own predictions, or what came with the images.
LabelsFrom = Literal["model", "folder", "file", "array", "list"]

#: Passes that a chunk may take, roughly: some seconds of work, so that a kill costs no more than these, that
#: several workers share a job evenly, and that the queue's own time does not show.
_CHUNK_PASSES = 4_000

#: Fewer images at once leave a model's speed unused.
_FEWEST = 4

#: Chunks that a job may have: where it would have more, each takes more images. Every chunk is a row here and
#: several in DBOS, written in the one transaction in which a job is taken on; 5,000 take SQLite under 2 s, in
#: which nobody else writes.
MOST_CHUNKS = 5_000


@dataclass(frozen=True)
class Item:
    """One image of a campaign, as it came.

    Attributes:
        name: The file's; for arrays its place.
        content: A PNG, JPEG or WebP file; or the bytes of float32 (channels, height, width).
        exact: Whether it is the latter.
        label: What came with it, a class's name or number.
    """

    name: str
    content: bytes
    exact: bool = False
    label: str | None = None


@dataclass(frozen=True)
class Run:
    """One attack on one model behind one defence, over all images.

    Attributes:
        bundle: The model.
        defence: At inference, and attacked through.
        name: What the caller calls the attack; its own name, if nothing else.
        chosen: The attack, its parameters for this model.
    """

    bundle: Bundle
    defence: Defence
    name: str
    chosen: Chosen

    @property
    def passes(self) -> int:
        """The most that an image takes: passes, a backward one counted as two forward ones."""
        cost = announced(self.chosen.parameters, len(self.bundle.manifest.classes), eot=self.chosen.eot)
        return cost.forwards + cost.backwards

    @property
    def parameters(self) -> str:
        """As JSON, from which they are made again."""
        return json.dumps(self.chosen.parameters.model_dump(mode="json"))


@dataclass(frozen=True)
class Chunk:
    """Images ``first`` to ``first + count`` of a run."""

    run: int
    first: int
    count: int
    cost: float


@dataclass(frozen=True)
class Campaign:
    """All of it.

    Attributes:
        name: A note of the caller's.
        runs: At least one.
        items: The images, at least one.
        labels: Where their classes are from.
        float_images: Whether the exact adversarial images are kept, beside the PNGs.
    """

    name: str
    runs: Sequence[Run]
    items: Sequence[Item]
    labels: LabelsFrom
    float_images: bool

    def is_judged(self, run: Run) -> bool:
        """Whether the share that holds is a robust accuracy: true labels, a budget, and no class to reach."""
        parameters = run.chosen.parameters
        targeted = getattr(parameters, "target", None) is not None
        return self.labels != "model" and parameters.budget is not None and not targeted

    def chunks(self, most: int) -> Iterator[Chunk]:
        """The chunks, so ordered that every run advances at the same pace.

        There are at most :data:`MOST_CHUNKS`, unless even chunks of ``most`` images are more.

        Args:
            most: Images in one chunk. They go through a model at once, so this bounds a worker's memory, and
                is not exceeded for anything.
        """
        passes = [run.passes for run in self.runs]
        wanted = [min(most, max(_FEWEST, _CHUNK_PASSES // max(1, each))) for each in passes]
        least = _least(len(self.items), wanted, most)
        shares = []
        for number, count in enumerate(max(each, least) for each in wanted):
            for first in range(0, len(self.items), count):
                images = min(count, len(self.items) - first)
                chunk = Chunk(number, first, images, float(images * passes[number]))
                shares.append(((first + images) / len(self.items), number, chunk))
        for _, _, chunk in sorted(shares, key=lambda share: share[:2]):
            yield chunk

    def bytes_at_most(self) -> int:
        """Bytes that its images hold, and that its results may come to hold."""
        held = sum(len(item.content) + len(item.name) + _ROW for item in self.items)
        for run in self.runs:
            values = run.bundle.manifest.input
            pixels = values.channels * values.height * values.width
            exact = 4 * pixels if self.float_images else 0
            # A PNG of noise is as large as its pixels.
            held += len(self.items) * (pixels + exact + _OUTCOME)
        return held


def _least(images: int, wanted: Sequence[int], most: int) -> int:
    """Images that every chunk has to take so that there are no more than :data:`MOST_CHUNKS`; or ``most``.

    Args:
        images: Of the job.
        wanted: (runs) images that a chunk of each run would take by itself.
        most: That it may take.
    """

    def is_enough(least: int) -> bool:
        return sum(-(-images // max(each, least)) for each in wanted) <= MOST_CHUNKS

    return 1 + bisect_left(range(1, most), True, key=is_enough)


#: Bytes of a row beside its content, and of what is said of one attacked image.
_ROW = 100
_OUTCOME = 500
