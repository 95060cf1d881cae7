"""Load on a gateway, by everyone who asks it for something: see README.md beside this file.

locust -f loadtests/locustfile.py --host http://127.0.0.1:8000 --headless -u 20 -t 1m
locust -f loadtests/locustfile.py --host http://127.0.0.1:8000 --headless -u 200 --shape steps ClassifySmall
"""

from __future__ import annotations

import sys
from pathlib import Path

from locust import events

# locust looks for modules beside this file only, and the package that they are of is one above.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from loadtests import wiring
from loadtests.load_shape import Shape
from loadtests.users.attacks import Attackers
from loadtests.users.batches import Batches
from loadtests.users.classify import ClassifyLarge, ClassifySmall
from loadtests.users.defences import Defended
from loadtests.users.hostile import Hostile
from loadtests.users.jobs import Campaigns
from loadtests.users.oip import OpenInference

__all__ = [
    "Attackers",
    "Batches",
    "Campaigns",
    "ClassifyLarge",
    "ClassifySmall",
    "Defended",
    "Hostile",
    "OpenInference",
    "Shape",
]

wiring.connect(events)
