"""Attacks over a gradient oracle, written once for numpy and torch arrays."""

from holdfast.attacks.catalogue import attack_of, catalogue, find
from holdfast.attacks.definition import Attack
from holdfast.attacks.engine import attack
from holdfast.attacks.flags import Flag
from holdfast.attacks.loss import AdaptiveLoss, Loss
from holdfast.attacks.noise import ImageNoise, Noise, SeededNoise
from holdfast.attacks.oracle import GradientAnswer, Oracle
from holdfast.attacks.parameters import AttackParameters, Cost
from holdfast.attacks.pgd import CWLinfParameters, FGSMParameters, PGDParameters
from holdfast.attacks.result import AttackResult

__all__ = [
    "AdaptiveLoss",
    "Attack",
    "AttackParameters",
    "AttackResult",
    "CWLinfParameters",
    "Cost",
    "FGSMParameters",
    "Flag",
    "GradientAnswer",
    "ImageNoise",
    "Loss",
    "Noise",
    "Oracle",
    "PGDParameters",
    "SeededNoise",
    "attack",
    "attack_of",
    "catalogue",
    "find",
]
