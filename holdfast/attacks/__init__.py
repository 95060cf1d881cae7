"""Attacks over a gradient oracle, written once for numpy and torch arrays."""

from holdfast.attacks.apgd import APGDDLRParameters, APGDParameters, APGDTParameters
from holdfast.attacks.autoattack import AutoAttackParameters
from holdfast.attacks.carlini_wagner import CarliniWagnerParameters
from holdfast.attacks.catalogue import attack_of, catalogue, find
from holdfast.attacks.ddn import DDNParameters
from holdfast.attacks.definition import Attack
from holdfast.attacks.engine import attack
from holdfast.attacks.eot import EOTOracle
from holdfast.attacks.fab import FABParameters, FABTParameters
from holdfast.attacks.flags import Flag
from holdfast.attacks.loss import AdaptiveLoss, Loss
from holdfast.attacks.noise import ImageNoise, Noise, SeededNoise
from holdfast.attacks.oracle import GradientAnswer, Oracle
from holdfast.attacks.parameters import AttackParameters, Cost
from holdfast.attacks.pgd import CWLinfParameters, FGSMParameters, PGDParameters
from holdfast.attacks.rays import RaySParameters
from holdfast.attacks.result import AttackResult
from holdfast.attacks.spsa import SPSAParameters
from holdfast.attacks.square import SquareParameters

__all__ = [
    "APGDDLRParameters",
    "APGDParameters",
    "APGDTParameters",
    "AdaptiveLoss",
    "Attack",
    "AttackParameters",
    "AttackResult",
    "AutoAttackParameters",
    "CWLinfParameters",
    "CarliniWagnerParameters",
    "Cost",
    "DDNParameters",
    "EOTOracle",
    "FABParameters",
    "FABTParameters",
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
    "SquareParameters",
    "attack",
    "attack_of",
    "catalogue",
    "find",
]
