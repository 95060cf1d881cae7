"""The synchronous client; all but ``gather`` is written from the asynchronous one by scripts/unasync.py."""
