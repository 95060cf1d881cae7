"""Attacks in processes of their own: what comes of them, who waits, what stops them, and what dies."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.attacking import ENDLESS, PIXEL, SHORT, gone, order, reddish, soon, wait_gone
from support.gated import eventually
from support.tiny import SCALE, make_tiny_bundle

from holdfast.attacking.cost import Speed
from holdfast.attacking.execution import Attacked
from holdfast.attacks import PGDParameters, attack
from holdfast.attacks.onnx_oracle import OnnxOracle
from holdfast.bundle import Bundle, ModelStore
from serving.attacking.base import AttackerLostError, NotApplicableError
from serving.attacking.messages import DEAF_TO, Measure, ModelKey
from serving.attacking.pool import AttackPool
from serving.attacking.process import WorkerProcess, WorkerSettings
from serving.backends.base import DeadlineExceededError, OverloadedError, UnavailableError

pytestmark = pytest.mark.anyio


async def test_an_attack_does_what_the_gradient_says(pool: AttackPool, tiny_model: Bundle) -> None:
    carried = await pool.attack(order(tiny_model), deadline=soon())
    result, labels = carried.attacked.result, carried.attacked.labels
    # The gradient of the cross-entropy lowers red and raises green and blue: each by epsilon / 4 a step.
    step = SHORT.epsilon / 4
    steps = 2  # 0.6 - 0.015 < 0.58 + 0.015, while after one step red still leads by 0.005
    expected = np.asarray(PIXEL) + np.array([-1, 1, 1]) * steps * step
    np.testing.assert_allclose(result.images[0, :, 3, 5], expected, atol=1e-6)
    assert labels.tolist() == [0]  # what the model says of the image
    assert result.logits.argmax(1).tolist() == [1]
    assert result.success.tolist() == [True]
    np.testing.assert_allclose(result.logits[0], SCALE * expected, atol=1e-5)
    assert float(result.linf[0]) == pytest.approx(steps * step, abs=1e-6)
    assert carried.queue >= 0
    assert carried.seconds > 0


async def test_the_result_is_that_of_the_engine_bit_for_bit(pool: AttackPool, tiny_model: Bundle) -> None:
    parameters = PGDParameters(epsilon=0.02, steps=7, seed=3)
    carried = await pool.attack(order(tiny_model, parameters, labels=np.array([2])), deadline=soon())
    here = attack(OnnxOracle(tiny_model, threads=1), reddish(), np.array([2]), parameters)
    np.testing.assert_array_equal(carried.attacked.result.images, here.images)
    assert carried.attacked.labels.tolist() == [2]
    assert (carried.attacked.result.forwards, carried.attacked.result.backwards) == (
        here.forwards,
        here.backwards,
    )


async def test_a_trace_shows_the_way_evenly_and_in_bounds(pool: AttackPool, tiny_model: Bundle) -> None:
    parameters = PGDParameters(epsilon=0.01, steps=20, random_start=False, stop_at_success=False)
    carried = await pool.attack(order(tiny_model, parameters, trace=8), deadline=soon())
    trace = carried.attacked.trace
    assert trace is not None
    assert (trace.queries, trace.every) == (20, 4)
    assert [iterate.query for iterate in trace.iterates] == [0, 4, 8, 12, 16]
    np.testing.assert_allclose(trace.iterates[0].image, reddish()[0])
    assert trace.iterates[1].image[0, 0, 0] == pytest.approx(PIXEL[0] - 0.01, abs=1e-6)
    np.testing.assert_allclose(trace.iterates[0].logits, SCALE * np.asarray(PIXEL), atol=1e-5)
    losses = [iterate.loss for iterate in trace.iterates]
    assert None not in losses
    assert losses[1] > losses[0]  # type: ignore[operator]


async def test_workers_start_with_the_first_attack_and_stay(pool: AttackPool, tiny_model: Bundle) -> None:
    assert pool.pids == []
    await pool.attack(order(tiny_model), deadline=soon())
    first = pool.pids
    await pool.attack(order(tiny_model), deadline=soon())
    assert pool.pids == first
    assert len(first) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_worker_stands_back_and_has_no_torch(pool: AttackPool, tiny_model: Bundle) -> None:
    await pool.attack(order(tiny_model), deadline=soon())
    [pid] = pool.pids
    assert os.getpriority(os.PRIO_PROCESS, pid) - os.getpriority(os.PRIO_PROCESS, 0) in (9, 10)
    assert os.getpgid(pid) != os.getpgid(0)
    libraries = Path(f"/proc/{pid}/maps").read_text()
    assert "onnxruntime" in libraries
    assert "libtorch" not in libraries


async def test_the_speed_of_a_model_is_measured_once(pool: AttackPool, tiny_model: Bundle) -> None:
    first, second = await asyncio.gather(
        pool.speed(tiny_model, "none", deadline=soon()), pool.speed(tiny_model, "none", deadline=soon())
    )
    assert first is second
    assert first is await pool.speed(tiny_model, "none", deadline=soon())
    assert 0 < first.forward < 1
    assert 0 < first.gradient < 1
    assert first.batch_size == 1


async def test_a_queue_that_is_full_says_when_to_come_back(pool: AttackPool, tiny_model: Bundle) -> None:
    endless = [
        asyncio.create_task(pool.attack(order(tiny_model, ENDLESS, expected=20.0), deadline=soon(90)))
        for _ in range(3)
    ]
    await eventually(lambda: (pool.running, pool.waiting) == (1, 2))
    with pytest.raises(OverloadedError) as refused:
        await pool.attack(order(tiny_model), deadline=soon())
    assert refused.value.retry_after == pytest.approx(60, abs=10)  # less what the first has had
    for each in endless:
        each.cancel()
    await asyncio.wait(endless)
    assert pool.waiting == 0
    await pool.attack(order(tiny_model), deadline=soon())


async def test_a_deadline_stops_an_attack_between_two_steps(pool: AttackPool, tiny_model: Bundle) -> None:
    await pool.attack(order(tiny_model), deadline=soon())
    before = pool.pids
    with pytest.raises(DeadlineExceededError, match=r"after [\d,]+ of 10,000,000 steps"):
        await pool.attack(order(tiny_model, ENDLESS), deadline=soon(0.5))
    # The next one has its turn as soon as the last has stopped, in the same process.
    await pool.attack(order(tiny_model), deadline=soon())
    assert pool.pids == before


async def test_a_deadline_ends_the_wait_for_a_turn_too(pool: AttackPool, tiny_model: Bundle) -> None:
    endless = asyncio.create_task(pool.attack(order(tiny_model, ENDLESS), deadline=soon(60)))
    await eventually(lambda: pool.running == 1)
    with pytest.raises(DeadlineExceededError, match="before the attack had its turn"):
        await pool.attack(order(tiny_model), deadline=soon(0.2))
    assert pool.waiting == 0
    endless.cancel()
    await asyncio.wait([endless])


async def test_a_slot_is_free_when_the_work_has_stopped_and_not_before(
    pool: AttackPool, tiny_model: Bundle
) -> None:
    await pool.attack(order(tiny_model), deadline=soon())
    [pid] = pool.pids
    caller = asyncio.create_task(pool.attack(order(tiny_model, ENDLESS), deadline=soon(60)))
    await eventually(lambda: pool.running == 1)
    await asyncio.sleep(0.1)
    os.kill(pid, signal.SIGSTOP)  # it hears nothing now
    caller.cancel()
    await asyncio.wait([caller])
    assert caller.cancelled()
    assert pool.running == 1  # the caller has gone, and the slot is taken
    await eventually(lambda: pool.running == 0)  # after the grace, with a kill
    assert gone(pid)
    carried = await pool.attack(order(tiny_model), deadline=soon())
    assert isinstance(carried.attacked, Attacked)
    assert pool.pids != [pid]


async def test_a_worker_that_is_killed_fails_its_own_caller_and_is_replaced(
    pool: AttackPool, tiny_model: Bundle
) -> None:
    await pool.attack(order(tiny_model), deadline=soon())
    [pid] = pool.pids
    caller = asyncio.create_task(pool.attack(order(tiny_model, ENDLESS), deadline=soon(60)))
    behind = asyncio.create_task(pool.attack(order(tiny_model), deadline=soon()))
    await eventually(lambda: (pool.running, pool.waiting) == (1, 1))
    await asyncio.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(AttackerLostError, match="SIGKILL"):
        await caller
    assert (await behind).attacked.result.success.tolist() == [True]
    assert pool.pids
    assert pid not in pool.pids


async def test_a_worker_that_dies_while_idle_is_noticed(pool: AttackPool, tiny_model: Bundle) -> None:
    await pool.attack(order(tiny_model), deadline=soon())
    [pid] = pool.pids
    os.kill(pid, signal.SIGKILL)
    await eventually(lambda: pool.pids == [])
    await pool.attack(order(tiny_model), deadline=soon())
    assert len(pool.pids) == 1


async def test_workers_are_deaf_to_what_a_terminal_or_a_service_manager_sends_to_all(
    pool: AttackPool, tiny_model: Bundle
) -> None:
    await pool.attack(order(tiny_model), deadline=soon())
    [pid] = pool.pids
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(pid, number)
    await pool.attack(order(tiny_model), deadline=soon())
    assert pool.pids == [pid]


async def test_a_worker_is_deaf_from_its_first_moment(tiny_model: Bundle) -> None:
    worker = await WorkerProcess.start(WorkerSettings())
    try:
        for number in DEAF_TO:
            os.kill(worker.pid, number)  # long before Python runs there
        model = ModelKey(tiny_model.root.absolute(), tiny_model.manifest.digest, "none")
        for _ in range(2):
            assert isinstance(await worker.do(Measure(model), lambda done, total: None), Speed)
            os.kill(worker.pid, signal.SIGTERM)
    finally:
        await worker.close()


async def test_closing_ends_what_runs_and_refuses_what_waits(tiny_model: Bundle) -> None:
    pool = AttackPool(workers=1)
    callers = [
        asyncio.create_task(pool.attack(order(tiny_model, ENDLESS), deadline=soon(60))) for _ in range(2)
    ]
    await eventually(lambda: bool(pool.pids) and pool.waiting == 1)
    [pid] = pool.pids
    began = time.monotonic()
    await pool.close()
    for caller in callers:
        with pytest.raises(UnavailableError):
            await caller
    assert time.monotonic() - began < 5
    wait_gone([pid])
    with pytest.raises(UnavailableError):
        await pool.attack(order(tiny_model), deadline=soon())
    await pool.close()


async def test_a_bundle_that_is_no_longer_what_is_served_is_not_attacked(
    pool: AttackPool, tmp_path: Path
) -> None:
    served = Bundle.open(make_tiny_bundle(tmp_path))
    (served.root / "gradient.onnx").write_bytes(b"not what it was")
    with pytest.raises(UnavailableError) as refused:
        await pool.attack(order(served), deadline=soon())
    assert str(tmp_path) not in refused.value.message
    shutil.rmtree(served.root)
    make_tiny_bundle(tmp_path)
    await pool.attack(order(ModelStore(tmp_path).open("tiny")), deadline=soon())


async def test_a_loss_that_the_model_has_not_got_is_refused(pool: AttackPool, tiny_model: Bundle) -> None:
    with pytest.raises(NotApplicableError, match="so"):
        await pool.attack(order(tiny_model, PGDParameters(loss="so")), deadline=soon())
    await pool.attack(order(tiny_model), deadline=soon())


async def test_a_worker_keeps_no_more_models_open_than_it_may(tmp_path: Path) -> None:
    pool = AttackPool(workers=1, settings=WorkerSettings(models=1))
    try:
        bundles = [Bundle.open(make_tiny_bundle(tmp_path, name)) for name in ("one", "two")]
        for bundle in (*bundles, *bundles):
            carried = await pool.attack(order(bundle), deadline=soon())
            assert carried.attacked.result.success.all()
        assert len(pool.pids) == 1
    finally:
        await pool.close()
