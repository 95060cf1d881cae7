"""The version of this client."""

__version__ = "0.1.0"

#: The version of the gateway's API that it speaks, as addresses have it: ``/v1/…``.
API_VERSION = "v1"
