"""Carrying out attacks on somebody's images: what was asked, what it costs, and what came of it.

The command line, the gateway and the workers of campaigns share it.
"""
