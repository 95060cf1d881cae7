"""The cells of MAT's Tables 1 and 5, which look at features: match rates, and cosines to centres.

Images under attack are those that fool the bundle as it is served; features are those of the same network in
torch. What was found is kept beside the ledgers, and so are the features of each batch that was attacked.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from holdfast.bundle import WEIGHTS, Bundle
from holdfast.version import __version__
from training.analysis import Clusters, cosine_statistics
from training.analysis.features import Features
from training.evaluation.attacked import AttackedFeatures
from training.evaluation.line import Line
from training.evaluation.measurement import Bench
from training.evaluation.runner import Loaded
from training.evaluation.tables.filling import Ours, of_share
from training.evaluation.tables.table import Quantity
from training.models import Network, centres_of
from training.rebuild import rebuild

#: Called with how many more images are done.
Progress = Callable[[int], None]


@dataclass
class Analyst:
    """Measures features of one bundle, of each set of images once.

    Attributes:
        bundle: Whose.
        loaded: The images.
        ledgers: Where results are kept.
        bench: With what images are attacked.
        batch_size: Images attacked at a time.
        again: Measure anew what is known.
    """

    bundle: Bundle
    loaded: Loaded
    ledgers: Path
    bench: Bench
    batch_size: int = 100
    again: bool = False
    _network: Network | None = None
    _found: dict[Line, Features] = field(default_factory=dict)

    def measure(self, quantity: Quantity, line: Line, progress: Progress = lambda _: None) -> Ours:
        """A match rate in percent, or a mean cosine.

        Args:
            quantity: Which of the two.
            line: The attack.
            progress: Told of this line's images.

        Raises:
            UsageError: The network has no centres, or there are fewer images than clusters.
        """
        path = self._path(quantity, line)
        if path.is_file() and not self.again:
            content = json.loads(path.read_text(encoding="utf-8"))
            progress(len(self.loaded.split))
            return Ours(**content["ours"] | {"flags": tuple(content["ours"]["flags"])})
        ours = self._measure(quantity, line, progress)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.part")
        temporary.write_text(
            json.dumps({"subject": self._subject(quantity, line), "ours": asdict(ours)}), encoding="utf-8"
        )
        temporary.replace(path)
        return ours

    def _measure(self, quantity: Quantity, line: Line, progress: Progress) -> Ours:
        seen = self._features(line, progress)
        if quantity == "match rate":
            clean = self._features(Line.parse("clean", self.bundle.manifest.threat_model), lambda _: None)
            clusters = Clusters.ward(clean.vectors, clean.predictions)
            rate = clusters.match_rate(seen.vectors, seen.predictions)
            return of_share(round(rate * len(seen.vectors)), len(seen.vectors))
        centres = centres_of(self._rebuilt(), "MAT's Table 5").numpy()
        found = cosine_statistics(seen.vectors, seen.predictions, centres)
        # The mean over classes of their means, each of which varies by its own deviation.
        error = math.sqrt(float((found.deviations**2 / found.images).sum())) / len(found.classes)
        low, high = max(-1.0, found.mean - 1.96 * error), min(1.0, found.mean + 1.96 * error)
        return Ours(found.mean, low, high, len(seen.vectors), deviation=found.deviation)

    def _features(self, line: Line, progress: Progress) -> Features:
        if line not in self._found:
            self._found[line] = AttackedFeatures(
                self.bundle,
                self._rebuilt(),
                self.bench.oracle(self.bundle.root, "none"),
                self.loaded,
                self.ledgers,
                self.batch_size,
                self.again,
            ).find(line, progress)
        return self._found[line]

    def _rebuilt(self) -> Network:
        if self._network is None:
            self._network = rebuild(self.bundle).requires_grad_(False)
        return self._network

    def _subject(self, quantity: Quantity, line: Line) -> dict[str, Any]:
        parameters = None if line.parameters is None else line.parameters.model_dump(mode="json")
        return {
            "bundle": self.bundle.manifest.files[WEIGHTS].sha256,
            "images": [self.loaded.digest, len(self.loaded.split)],
            "quantity": quantity,
            "attack": None if line.parameters is None else type(line.parameters).__name__,
            "parameters": parameters,
            "version": __version__,
        }

    def _path(self, quantity: Quantity, line: Line) -> Path:
        text = json.dumps(self._subject(quantity, line), sort_keys=True)
        name = f"features-{hashlib.sha256(text.encode()).hexdigest()[:20]}.json"
        return self.ledgers / f"{self.bundle.name}-{self.bundle.version}" / name
