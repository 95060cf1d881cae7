"""Attacks on demand: who carries them out, apart from what classifies, and on how much of the machine."""
