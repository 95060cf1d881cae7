"""Holdfast's core: the bundle, images and attacks, shared by training and serving.

Importing it needs numpy, pillow and pydantic only; torch and ONNX Runtime are imported by what uses them.
"""

import os

from holdfast.version import __version__

# From 1.29 on, ONNX Runtime tells its makers of every model that it opens, unless this is set before it is
# imported. Here nothing is sent anywhere that nobody asked for.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["__version__"]
