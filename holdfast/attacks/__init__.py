"""Attacks over a gradient oracle, written once for numpy and torch arrays."""

from holdfast.attacks.carlini_wagner import CarliniWagnerParameters
from holdfast.attacks.catalogue import attack_of, catalogue, find
from holdfast.attacks.ddn import DDNParameters
from holdfast.attacks.definition import Attack
from holdfast.attacks.engine import attack
from holdfast.attacks.eot import EOTOracle
from holdfast.attacks.flags import Flag
from holdfast.attacks.loss import AdaptiveLoss, Loss
from holdfast.attacks.noise import ImageNoise, Noise, SeededNoise
from holdfast.attacks.oracle import GradientAnswer, Oracle
from holdfast.attacks.parameters import AttackParameters, Cost
from holdfast.attacks.pgd import CWLinfParameters, FGSMParameters, PGDParameters
from holdfast.attacks.rays import RaySParameters
from holdfast.attacks.result import AttackResult
from holdfast.attacks.spsa import SPSAParameters

__all__ = [
    "AdaptiveLoss",
    "Attack",
    "AttackParameters",
    "AttackResult",
    "CWLinfParameters",
    "CarliniWagnerParameters",
    "Cost",
    "DDNParameters",
    "EOTOracle",
    "FGSMParameters",
    "Flag",
    "GradientAnswer",
    "ImageNoise",
    "Loss",
    "Noise",
    "Oracle",
    "PGDParameters",
    "RaySParameters",
    "SPSAParameters",
    "SeededNoise",
    "attack",
    "attack_of",
    "catalogue",
    "find",
]
