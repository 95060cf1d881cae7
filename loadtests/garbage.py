"""Requests that nobody should send and somebody does: each is to be refused, in words, and soon.

The gateway's documentation says what each limit is; these go just beyond.
"""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from random import Random

from loadtests import forms, images
from loadtests.raw_http import Piece
from loadtests.target import Model

#: Seconds between two bytes of a slow body, and how many there are: longer than any server should wait.
_SLOWLY, _SLOW_BYTES = 0.5, 600


@dataclass(frozen=True)
class Garbage:
    """One request.

    Attributes:
        pieces: What to send.
        method: Its method, where it has a known one.
        protocol: ``v2`` for the Open Inference Protocol, whose errors look otherwise.
        half_close: Whether the sender goes away after the last piece. A server may leave it without an answer
            then.
    """

    pieces: Iterable[Piece]
    method: str = "POST"
    protocol: str = "v1"
    half_close: bool = False


Maker = Callable[["Writer"], Garbage]


@dataclass(frozen=True)
class Writer:
    """Writes requests to one gateway.

    Attributes:
        host: For the Host header.
        key: What shows the key, if there is one.
        model: A model that is there.
        random: Decides where a choice is free.
    """

    host: str
    key: dict[str, str]
    model: Model
    random: Random

    def request(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        protocol: str = "v1",
    ) -> Garbage:
        """A request whose frame is in order."""
        head = self.head(method, path, {"Content-Length": str(len(body)), **(headers or {})})
        return Garbage([head + body], method, protocol)

    def head(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> bytes:
        """The first lines of a request, to the empty one."""
        fields = {"Host": self.host, "Connection": "close", **self.key, **(headers or {})}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def classify(
        self, body: bytes, content_type: str = "image/png", query: str = "", packed: str = ""
    ) -> Garbage:
        """A classification."""
        path = f"{self.model.path}/classify{query}"
        packing = {"Content-Encoding": packed} if packed else {}
        return self.request("POST", path, body, {"Content-Type": content_type, **packing})

    def attack(self, query: str) -> Garbage:
        """An attack on a whole image."""
        path = f"{self.model.path}/attack?{query}"
        return self.request("POST", path, self.image(), {"Content-Type": "image/png"})

    def begun(self, framing: Mapping[str, str]) -> bytes:
        """The head of a classification, whose body is to follow as ``framing`` says."""
        return self.head("POST", f"{self.model.path}/classify", {"Content-Type": "image/png", **framing})

    def infer(self, content: object, length: str = "") -> Garbage:
        """An inference by the Open Inference Protocol."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        path = f"/v2/models/{self.model.name}/infer"
        headers = {"Inference-Header-Content-Length": length} if length else {}
        return self.request("POST", path, body, headers, protocol="v2")

    def image(self) -> bytes:
        """A whole image."""
        return self.random.choice(list(images.small().values()))


@cache
def packed_zeros() -> bytes:
    """64 MiB that arrive as 300 kB."""
    return gzip.compress(bytes(64 << 20), 1)


def _bomb() -> bytes:
    """A PNG of a few bytes that says that it is 100,000 pixels wide and high."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


def _tensor(model: Model, **changes: object) -> dict[str, object]:
    shape = [1, model.channels, model.height, model.width]
    described = {"name": "images", "datatype": "FP32", "shape": shape, "data": [0.5]}
    return {"inputs": [described | changes]}


def _slow(writer: Writer) -> Garbage:
    head = writer.begun({"Content-Length": str(_SLOW_BYTES)})
    slowly: list[Piece] = [_SLOWLY, b"\x89"]
    return Garbage([head, *(slowly * _SLOW_BYTES)])


def _slow_head(writer: Writer) -> Garbage:
    line = f"GET /v1/models HTTP/1.1\r\nHost: {writer.host}\r\n".encode()
    slowly: list[Piece] = [_SLOWLY, b"X: y\r\n"]
    return Garbage([line, *(slowly * 60)], "GET")


def _truncated(writer: Writer) -> Garbage:
    body = writer.image()
    head = writer.begun({"Content-Length": str(len(body))})
    return Garbage([head + body[: len(body) // 2]], half_close=True)


def _chunked(writer: Writer) -> Garbage:
    head = writer.begun({"Transfer-Encoding": "chunked"})
    return Garbage([head + b"zz\r\nnot a size\r\n"])


def _form_breaking_off(writer: Writer) -> Garbage:
    return writer.classify(forms.form([("image", "a.png", writer.image())])[:-30], forms.CONTENT_TYPE)


_JSON = {"Content-Type": "application/json"}
_DEEP = b"[" * 1000 + b"]" * 1000

#: By the name that reports have for them: what is wrong, and who makes such a request.
GARBAGE: dict[str, list[Maker]] = {
    "broken image": [
        lambda w: w.classify(b""),
        lambda w: w.classify(b"not an image"),
        lambda w: w.classify(w.image()[:100]),
        lambda w: w.classify(b"\x89PNG\r\n\x1a\n" + w.random.randbytes(500)),
        lambda w: w.classify(b"\xff\xd8\xff\xe0" + w.random.randbytes(500), "image/jpeg"),
        lambda w: w.classify(b"GIF89a\x01\x00\x01\x00\x00\x00\x00;", "image/gif"),
        lambda w: w.classify(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        lambda w: w.classify(_bomb()),
        lambda w: w.classify(
            forms.form([("a", "a.png", w.image()), ("b", "b.png", b"b")]), forms.CONTENT_TYPE
        ),
    ],
    "wrong type": [
        lambda w: w.classify(w.image(), "text/html"),
        lambda w: w.classify(w.image(), "application/json"),
        lambda w: w.classify(w.image(), "multipart/form-data"),
        lambda w: w.classify(w.image(), "multipart/form-data; boundary=nowhere"),
        lambda w: w.classify(w.image(), "image/png, text/plain; charset=\xff"),
        lambda w: w.classify(w.image(), packed="br"),
        lambda w: w.classify(w.image(), packed="gzip"),
        lambda w: w.classify(packed_zeros(), packed="gzip"),
        _form_breaking_off,
    ],
    "bad JSON": [
        lambda w: w.classify(b'{"image": ', "application/json"),
        lambda w: w.classify(b'{"image": 1}', "application/json"),
        lambda w: w.classify(b'{"image": "%%%"}', "application/json"),
        lambda w: w.classify(b'{"images": []}', "application/json"),
        lambda w: w.classify(b'{"picture": "aGk="}', "application/json"),
        lambda w: w.classify(b'"\xff\xfe"', "application/json"),
        lambda w: w.classify(_DEEP, "application/json"),
        lambda w: w.classify(b'{"image": NaN}', "application/json"),
        lambda w: w.request("POST", "/v1/jobs", b'{"attacks": 7}', _JSON),
        lambda w: w.request("POST", "/v1/jobs", _DEEP, _JSON),
    ],
    "bad parameter": [
        lambda w: w.classify(w.image(), query="?top_k=0"),
        lambda w: w.classify(w.image(), query="?top_k=three"),
        lambda w: w.classify(w.image(), query="?defence=rot13"),
        lambda w: w.classify(w.image(), query="?%00=%ff"),
        lambda w: w.attack("attack=magic"),
        lambda w: w.attack("attack=pgd&epsilon=nan"),
        lambda w: w.attack("attack=pgd&epsilon=1/0"),
        lambda w: w.attack("attack=pgd&steps=1000000000"),
        lambda w: w.attack("attack=pgd&label=no-such-class"),
        lambda w: w.request("GET", "/v1/jobs?limit=1000000"),
    ],
    "unknown": [
        lambda w: w.request("POST", "/v1/models/nobody/classify", w.image()),
        lambda w: w.request("POST", f"{w.model.path}/versions/999/classify", w.image()),
        lambda w: w.request("GET", "/v1/models/%2e%2e%2f%2e%2e%2fetc%2fpasswd"),
        lambda w: w.request("GET", "/v1/jobs/00000000000000000000"),
        lambda w: w.request("GET", "/v1/jobs/%00"),
        lambda w: w.request("GET", "/wp-login.php"),
        lambda w: w.request("DELETE", f"{w.model.path}/classify"),
        lambda w: w.request("PUT", "/v1/models", b"{}"),
        lambda w: w.request("GET", "/v2/models/nobody", protocol="v2"),
    ],
    "bad tensor": [
        lambda w: w.infer(b"{"),
        lambda w: w.infer({}),
        lambda w: w.infer({"inputs": []}),
        lambda w: w.infer(_tensor(w.model, datatype="UINT8")),
        lambda w: w.infer(_tensor(w.model, shape=[-1, 3])),
        lambda w: w.infer(_tensor(w.model, shape=[10**9] * 4)),
        lambda w: w.infer(_tensor(w.model, data=["a"])),
        lambda w: w.infer(_tensor(w.model), length="-1"),
        lambda w: w.infer(_tensor(w.model), length="999999"),
        lambda w: w.infer(b"\xff" * 4096, length="0"),
    ],
    "bad frame": [
        lambda _: Garbage([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64)]),
        lambda _: Garbage([b"GET / HTTP/9.9\r\n\r\n"]),
        lambda w: Garbage([w.head("GET", "/v1/models").replace(b"Host", b"Ho st")]),
        lambda w: Garbage([w.begun({"Content-Length": "-5"})]),
        lambda w: Garbage([w.begun({"Content-Length": "1", "Transfer-Encoding": "chunked"}) + b"x"]),
        lambda w: w.request("GET", "/v1/models", headers={"X": "a" * 40_000}),
        lambda w: w.request("GET", "/v1/models", headers={f"X-{n}": "y" for n in range(150)}),
        lambda w: w.request("GET", "/v1/models?" + "a" * 9_000),
        _chunked,
    ],
    "truncated body": [_truncated],
    "slow body": [_slow, _slow_head],
}
