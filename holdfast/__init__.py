"""Holdfast's core: the bundle, images and attacks, shared by training and serving.

Importing it needs numpy, pillow and pydantic only; torch and ONNX Runtime are imported by what uses them.
"""

from holdfast.version import __version__

__all__ = ["__version__"]
