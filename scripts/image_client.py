"""What the images' tests ask of a gateway, with nothing but Python's own library."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

#: Seconds for a gateway, or TorchServe, to load its models on a busy machine, and for a job of one image.
PATIENCE = 600.0
_TIMEOUT = 60.0
_BOUNDARY = "holdfast-image-test"


def ask(url: str, body: bytes | None = None, content_type: str = "image/png") -> dict[str, Any]:
    """The JSON that an address answers with.

    Raises:
        SystemExit: It answers with an error; the message has what it says.
    """
    headers = {} if body is None else {"Content-Type": content_type}
    request = urllib.request.Request(url, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            return cast(dict[str, Any], json.load(answer))
    except urllib.error.HTTPError as error:
        raise SystemExit(f"{url} answers {error.code}: {error.read().decode()}") from None


def is_ready(url: str) -> bool:
    """Whether a gateway can classify."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=_TIMEOUT) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:
        return False


def wait_until(true: Callable[[], bool], what: str, failed: Callable[[], str | None]) -> float:
    """Wait, and say how long it took.

    Args:
        true: What is waited for.
        what: The same in words.
        failed: Why it can never come true any more, if that is so.

    Raises:
        SystemExit: It cannot, or has not in time.
    """
    began = time.monotonic()
    while not true():
        reason = failed()
        if reason is not None or time.monotonic() > began + PATIENCE:
            raise SystemExit(f"It is not {what} after {time.monotonic() - began:.0f} s. {reason or ''}")
        time.sleep(0.2)
    return time.monotonic() - began


def form(image: Path, **fields: str) -> tuple[bytes, str]:
    """A form with one image, and its content type."""
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'Content-Disposition: form-data; name="images"; filename="{image.name}"'
    parts.append(f"--{_BOUNDARY}\r\n{head}\r\nContent-Type: image/png\r\n\r\n".encode())
    parts.append(image.read_bytes() + f"\r\n--{_BOUNDARY}--\r\n".encode())
    return b"".join(parts), f"multipart/form-data; boundary={_BOUNDARY}"
