"""Requests of every kind for the gateway, a given number of them, while its memory is watched."""

from __future__ import annotations

import base64
import http.client
import io
import itertools
import json
import random
import struct
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import psutil  # type: ignore[import-untyped]
from http_load import LoadError
from machine import processes
from PIL import Image
from servers import Address, Server

from holdfast.bundle import Bundle

SAMPLES = 200
_PATIENCE = 60.0

#: How many of a hundred requests are of which kind.
MIXTURE = {
    "one image": 40,
    "one image, JPEG of another size": 10,
    "five images, form": 10,
    "five images, JSON": 10,
    "nothing in the body": 2,
    "no image": 4,
    "a truncated image": 4,
    "an image of too many pixels": 2,
    "one image among five is damaged": 2,
    "an unknown model, each time another": 3,
    "an unknown path, each time another": 3,
    "an unknown parameter": 2,
    "the caller hangs up": 4,
    "health": 2,
    "metrics": 2,
}

#: The status of an answer that nobody waited for.
_HUNG_UP = 0


class Sample(NamedTuple):
    """The gateway's processes after so many requests.

    Attributes:
        requests: Answered until then.
        rss: Bytes that they hold.
        threads: That they run.
        files: That they have open.
    """

    requests: int
    rss: int
    threads: int
    files: int


class Request(NamedTuple):
    """One request and the status that it must get; for ``{}`` in the path a number never used before."""

    method: str
    path: str
    status: int
    body: bytes = b""
    content_type: str = ""


@dataclass
class Done:
    """What happened.

    Attributes:
        samples: Of memory, the first before the first request.
        answers: By kind, how many there were.
    """

    samples: list[Sample] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)


def mixture(bundle: Bundle, images: Sequence[bytes]) -> dict[str, list[Request]]:
    """Requests of every kind of :data:`MIXTURE`, several of a kind to choose from.

    Args:
        bundle: The model that is asked.
        images: PNG files.
    """
    path = f"/v1/models/{bundle.name}/classify"

    def post(body: bytes, status: int, content_type: str = "image/png", where: str = path) -> Request:
        return Request("POST", where, status, body, content_type)

    boundary, form = "form", "multipart/form-data; boundary=form"
    broken = images[0][: len(images[0]) // 2]
    fives = [
        tuple(itertools.islice(itertools.cycle(images), start, start + 5)) for start in range(len(images))
    ]
    return {
        "one image": [post(image, 200) for image in images],
        "one image, JPEG of another size": [
            post(_jpeg(images[0], 24 * size), 200, "image/jpeg") for size in range(1, 9)
        ],
        "five images, form": [post(_form(five, boundary), 200, form) for five in fives],
        "five images, JSON": [post(_json(five), 200, "application/json") for five in fives],
        "nothing in the body": [post(b"", 422)],
        "no image": [post(random.Random(seed).randbytes(2000), 422) for seed in range(8)],
        "a truncated image": [post(image[: len(image) * 2 // 3], 422) for image in images],
        "an image of too many pixels": [post(_bomb(), 413)],
        "one image among five is damaged": [
            post(_form((*five[:4], broken), boundary), 422, form) for five in fives
        ],
        "an unknown model, each time another": [post(images[0], 404, where="/v1/models/nobody-{}/classify")],
        "an unknown path, each time another": [Request("GET", "/nowhere/{}", 404)],
        "an unknown parameter": [post(images[0], 422, where=f"{path}?colour={{}}")],
        "the caller hangs up": [post(image, _HUNG_UP) for image in images],
        "health": [Request("GET", "/readyz", 200)],
        "metrics": [Request("GET", "/metrics", 200)],
    }


def send(
    server: Server,
    kinds: Mapping[str, Sequence[Request]],
    *,
    requests: int,
    callers: int,
    seed: int,
    advance: Callable[[], None] = lambda: None,
) -> Done:
    """Send so many requests in a random order, and sample the server's processes meanwhile.

    Args:
        server: The gateway, ready.
        kinds: What to send; how often says :data:`MIXTURE`.
        requests: How many.
        callers: Threads that send, each over a connection of its own.
        seed: Of the order.
        advance: Called after each.

    Raises:
        LoadError: A status is not the one that is right, or the connection broke.
    """
    order = random.Random(seed)
    names = order.choices(list(kinds), weights=[MIXTURE[name] for name in kinds], k=requests)
    queue = iter([(number, name, order.choice(kinds[name])) for number, name in enumerate(names)])
    done = Done([_sample(server.pid, 0)])
    every = max(1, requests // SAMPLES)
    lock = threading.Lock()
    failures: list[LoadError] = []

    def call() -> None:
        connection = http.client.HTTPConnection(*server.address, timeout=_PATIENCE)
        try:
            while not failures:
                with lock:
                    task = next(queue, None)
                if task is None:
                    return
                number, name, request = task
                _send(connection, number, name, request, server.address)
                with lock:
                    done.answers[name] += 1
                    answered = done.answers.total()
                    if answered % every == 0:
                        done.samples.append(_sample(server.pid, answered))
                    advance()
        except LoadError as error:
            failures.append(error)
        except (OSError, http.client.HTTPException) as error:
            failures.append(LoadError(f"A connection broke: {error!r}."))
        finally:
            connection.close()

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return done


def _send(
    connection: http.client.HTTPConnection, number: int, name: str, request: Request, address: Address
) -> None:
    headers = {"Content-Type": request.content_type} if request.content_type else {}
    if request.status == _HUNG_UP:
        alone = http.client.HTTPConnection(*address, timeout=_PATIENCE)
        alone.request(request.method, request.path, request.body, headers)
        alone.close()
        return
    connection.request(request.method, request.path.format(number), request.body or None, headers)
    response = connection.getresponse()
    body = response.read()
    if response.status != request.status:
        raise LoadError(
            f"'{name}' got {response.status} and not {request.status}: {body[:300].decode(errors='replace')}"
        )


def _sample(pid: int, requests: int) -> Sample:
    rss = threads = files = 0
    for process in processes(pid):
        try:
            with process.oneshot():
                rss += process.memory_info().rss
                threads += process.num_threads()
            files += process.num_fds()
        except psutil.NoSuchProcess:
            continue
    return Sample(requests, rss, threads, files)


def _jpeg(image: bytes, size: int) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(image)).convert("RGB").resize((size, size)).save(buffer, "JPEG")
    return buffer.getvalue()


def _json(images: Sequence[bytes]) -> bytes:
    return json.dumps({"images": [base64.b64encode(image).decode() for image in images]}).encode()


def _form(images: Sequence[bytes], boundary: str) -> bytes:
    head = 'Content-Disposition: form-data; name="image"; filename="image.png"\r\nContent-Type: image/png'
    parts = [f"--{boundary}\r\n{head}\r\n\r\n".encode() + image + b"\r\n" for image in images]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()])


def _bomb() -> bytes:
    """A PNG that says it is 50,000 pixels wide and high."""
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )
