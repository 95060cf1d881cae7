"""The one place where Holdfast's version is written."""

__version__ = "0.1.0"
