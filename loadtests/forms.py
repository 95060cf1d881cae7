"""Forms with files in them, as browsers and curl send them (RFC 7578)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

_BOUNDARY = "holdfast-loadtest-7d4c1f0e9b"

CONTENT_TYPE = f"multipart/form-data; boundary={_BOUNDARY}"


def form(files: Iterable[tuple[str, str, bytes]], fields: Mapping[str, str] | None = None) -> bytes:
    """The body of a form.

    Args:
        files: Each file's field, name and content.
        fields: The other fields, which come first.
    """
    parts = [
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in (fields or {}).items()
    ]
    for field, name, content in files:
        head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
        parts.append(head.encode() + b"Content-Type: application/octet-stream\r\n\r\n" + content + b"\r\n")
    return b"".join(parts) + f"--{_BOUNDARY}--\r\n".encode()
