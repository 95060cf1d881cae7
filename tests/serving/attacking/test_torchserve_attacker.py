"""Who watches an attack that TorchServe carries out is told how it waits, and of no steps."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from support.attacking import order, soon
from support.gated import eventually

from holdfast.bundle import Bundle
from serving.attacking.pool import AttackPool
from serving.attacking.torchserve import TorchServeAttacker

pytestmark = pytest.mark.anyio


@dataclass
class Notes:
    """What a watcher was told."""

    waited: list[int] = field(default_factory=list)
    steps: list[tuple[int, int]] = field(default_factory=list)

    def waits(self, before: int) -> None:
        self.waited.append(before)

    def advances(self, done: int, total: int, seconds: float) -> None:
        assert seconds >= 0
        self.steps.append((done, total))


async def test_the_wait_for_torchserve_is_told(pool: AttackPool, tiny_model: Bundle) -> None:
    over = asyncio.Event()

    async def answer_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await over.wait()
        writer.close()

    async with await asyncio.start_server(answer_nothing, "127.0.0.1", 0) as server:
        attacker = TorchServeAttacker(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", pool)
        notes = [Notes() for _ in range(3)]
        asking = [
            asyncio.create_task(attacker.attack(order(tiny_model), deadline=soon(), watcher=each))
            for each in notes
        ]
        await eventually(lambda: attacker.waiting == 2)
        asking[1].cancel()
        await eventually(lambda: attacker.waiting == 1)
        assert [each.waited for each in notes] == [[], [1], [2, 1]]
        over.set()
        await asyncio.gather(*asking, return_exceptions=True)  # it has no answers for them
        assert notes[2].waited == [2, 1, 0]
        assert not any(each.steps for each in notes)
        await attacker.close()


async def test_what_the_gateways_own_workers_attack_is_told_in_steps(
    pool: AttackPool, tiny_model: Bundle
) -> None:
    attacker = TorchServeAttacker("http://127.0.0.1:9", pool)
    attacker._others.add(tiny_model.manifest.digest)
    notes = Notes()
    await attacker.attack(order(tiny_model), deadline=soon(), watcher=notes)
    assert notes.waited == []
    assert notes.steps
    await attacker.close()
