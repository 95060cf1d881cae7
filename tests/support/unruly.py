"""A server that speaks as TorchServe does about the tiny bundle, and misbehaves when it is told to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Literal

import numpy as np
from support.tiny import SCALE

from holdfast import npy
from holdfast.bundle import WEIGHTS, ModelStore

#: answer: as it should. hang: take requests, answer none. reset: break the connection before an answer.
#: half: break it in the middle of one. full, batch, died: what TorchServe answers where its queue is full,
#: where its handler failed on a whole batch, and where its worker died. garbage: 200, and no answer in it.
Mood = Literal["answer", "hang", "reset", "half", "full", "batch", "died", "garbage"]

_ERRORS = {
    "full": (503, "ServiceUnavailableException"),
    "batch": (503, "InternalServerException"),
    "died": (507, "InternalServerException"),
}


class UnrulyServer:
    """See the module; ``mood`` may be changed at any time, ``moods`` are for the next requests, one each."""

    def __init__(self, store: Path) -> None:
        self.bundle = ModelStore(store).open("tiny")
        self.mood: Mood = "answer"
        self.moods: list[Mood] = []
        self.url = ""
        self.requests = 0
        self.headers: list[dict[str, str]] = []
        self.calm = asyncio.Event()

    def be(self, mood: Mood) -> None:
        """Change the mood; with a good one, what hangs goes on."""
        self.mood = mood
        self.calm.clear()
        if mood != "hang":
            self.calm.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {
                    name.strip().lower(): value.strip()
                    for name, _, value in (line.partition(":") for line in head[1:] if line)
                }
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                self.requests += 1
                self.headers.append(headers)
                if not await self._answer(body, headers, writer):
                    break
        writer.close()

    async def _answer(self, body: bytes, headers: dict[str, str], writer: asyncio.StreamWriter) -> bool:
        mood = self.moods.pop(0) if self.moods else self.mood
        if mood == "hang":
            await self.calm.wait()
            mood = self.mood
        if mood == "reset":
            writer.transport.abort()
            return False
        status = 200
        if mood in _ERRORS:
            status, kind = _ERRORS[mood]
            content: dict[str, object] = {"code": status, "type": kind, "message": "it went wrong"}
        elif mood == "garbage":
            content = {"hello": "world"}
        else:
            images = npy.decode(body, self.bundle.manifest.input, max_images=1000)
            content = {
                "logits": (SCALE * images.mean(axis=(2, 3))).tolist(),
                "weights": self.bundle.manifest.files[WEIGHTS].sha256,
                "defence": headers["x-holdfast-defence"],
                "inference_seconds": 0.001,
                "batch_size": len(images),
            }
        text = json.dumps(content).encode()
        answer = b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (
            status,
            len(text),
        )
        if mood == "half":
            writer.write(answer + text[:10])
            await writer.drain()
            writer.transport.abort()
            return False
        writer.write(answer + text)
        await writer.drain()
        return True


@asynccontextmanager
async def unruly(store: Path) -> AsyncIterator[UnrulyServer]:
    """Run such a server, well-behaved at first."""
    state = UnrulyServer(store)
    server = await asyncio.start_server(state.serve, "127.0.0.1", 0)
    state.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield state
    finally:
        state.be("reset")
        server.close()


def red(count: int = 1) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """Images that the tiny bundle calls red."""
    images = np.zeros((count, 3, 8, 8), dtype=np.float32)
    images[:, 0] = 1
    return images
