"""The Open Inference Protocol under ``/v2``, for clients that already speak it."""
