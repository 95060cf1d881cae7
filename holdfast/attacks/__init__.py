"""Attacks over a gradient oracle, written once for numpy and torch arrays."""

from holdfast.attacks.loss import Loss
from holdfast.attacks.noise import Noise, SeededNoise
from holdfast.attacks.oracle import GradientAnswer, Oracle
from holdfast.attacks.pgd import FGSMParameters, PGDParameters, fgsm, pgd
from holdfast.attacks.result import AttackResult

__all__ = [
    "AttackResult",
    "FGSMParameters",
    "GradientAnswer",
    "Loss",
    "Noise",
    "Oracle",
    "PGDParameters",
    "SeededNoise",
    "fgsm",
    "pgd",
]
