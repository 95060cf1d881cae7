"""What a network's features look like: the measurements behind MAT's Tables 1 and 5."""

from training.analysis.cosine_statistics import CosineStatistics, cosine_statistics
from training.analysis.features import features_of
from training.analysis.match_rate import Clusters

__all__ = ["Clusters", "CosineStatistics", "cosine_statistics", "features_of"]
