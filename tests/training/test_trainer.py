"""The training loop: it learns, it resumes exactly, it stops clean, it runs on several processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from holdfast.errors import UsageError
from training import checkpoint, recipe
from training.checkpoint import CheckpointError, CheckpointInfo, load_network
from training.data import load as load_data
from training.distributed import World
from training.trainer import DivergedError, Trainer

ALONE = World(0, 1, torch.device("cpu"))


class Watcher:
    """Keeps what a run reports."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    def started(self, info: CheckpointInfo, steps_per_epoch: int) -> None:
        pass

    def stepped(self, step: int, loss: float, learning_rate: float, images_per_second: float) -> None:
        pass

    def epoch_ended(self, epoch: int, step: int, measured: dict[str, float]) -> None:
        self.epochs.append(measured)

    def saved(self, path: Path) -> None:
        pass


def make_trainer(
    directory: Path,
    *overrides: str,
    name: str = "fs-digits",
    stop: Callable[[], bool] = lambda: False,
) -> Trainer:
    plan = recipe.load(name, ["epochs=2", "averaging.decay=0.99", "monitor.images=0", *overrides])
    return Trainer(plan, load_data("digits"), directory, ALONE, Watcher(), stop=stop)


def weights(directory: Path) -> dict[str, torch.Tensor]:
    newest = checkpoint.latest(directory)
    assert newest is not None
    return load_file(newest / "state.safetensors")


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    different = [key for key, value in first.items() if not torch.equal(value, second[key])]
    assert different == []


@pytest.mark.parametrize("name", ["pgd-at-digits", "fs-digits", "atld-digits"])
@pytest.mark.parametrize("interrupted_after", [1, 7, 30])
def test_a_run_interrupted_at_any_step_ends_with_bit_identical_weights(
    tmp_path: Path, name: str, interrupted_after: int
) -> None:
    make_trainer(tmp_path / "whole", name=name).run()

    steps = 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        return steps == interrupted_after

    first = make_trainer(tmp_path / "parts", name=name, stop=stop).run()
    assert (first.step, first.finished) == (interrupted_after, False)
    second = make_trainer(tmp_path / "parts", name=name)
    assert second.resume()
    assert second.run().finished
    assert_same(weights(tmp_path / "parts"), weights(tmp_path / "whole"))


def test_a_run_stopped_at_an_epochs_last_step_goes_on_with_the_next(tmp_path: Path) -> None:
    make_trainer(tmp_path / "whole").run()
    trainer = make_trainer(tmp_path / "parts")
    last = len(trainer.batches)
    trainer.stop = lambda: trainer.step == last
    first = trainer.run()
    assert (first.step, first.epoch, first.step_in_epoch) == (last, 1, 0)
    second = make_trainer(tmp_path / "parts")
    assert second.resume()
    assert second.run().finished
    assert_same(weights(tmp_path / "parts"), weights(tmp_path / "whole"))


def test_a_checkpoint_from_between_the_last_step_and_the_epochs_end_is_gone_on_with(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    last = len(trainer.batches)
    trainer.stop = lambda: trainer.step == last
    trainer.run()
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    before = checkpoint.read_info(newest).model_copy(
        update={"epoch": 0, "step_in_epoch": last, "history": []}
    )
    (newest / "state.json").write_text(before.model_dump_json(), encoding="utf-8")
    second = make_trainer(tmp_path)
    assert second.resume()
    done = second.run()
    assert done.finished
    assert [each["epoch"] for each in done.history] == [1, 2]


def test_where_the_newest_checkpoint_is_gone_the_one_before_it_counts(tmp_path: Path) -> None:
    make_trainer(tmp_path).run()
    directory = tmp_path / "checkpoints"
    before, newest = sorted(directory.glob("step-*"))
    newest.rename(directory / f".replaced-{newest.name}.1")
    assert checkpoint.latest(tmp_path) == before


def test_adversarial_training_on_digits_learns_to_hold(tmp_path: Path) -> None:
    plan = recipe.load("pgd-at-digits", ["epochs=8"])
    watcher = Watcher()
    Trainer(plan, load_data("digits"), tmp_path, ALONE, watcher).run()
    assert watcher.epochs[-1]["clean"] > 0.85
    assert watcher.epochs[-1]["pgd10"] > 0.4


def test_the_average_is_what_is_exported(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    trainer.run()
    network, info = load_network(tmp_path)
    assert trainer.average is not None
    assert_same(dict(network.state_dict()), dict(trainer.average.network.state_dict()))
    assert not network.training
    assert info.recipe["method"]["name"] == "feature-scattering"
    assert info.dataset.classes == [str(digit) for digit in range(10)]


def test_another_recipe_or_other_data_do_not_go_on_with_a_run(tmp_path: Path) -> None:
    make_trainer(tmp_path, stop=lambda: True).run()
    with pytest.raises(UsageError, match="seed changed"):
        make_trainer(tmp_path, "seed=1").resume()
    other = make_trainer(tmp_path)
    other.facts = other.facts.model_copy(update={"digest": "0" * 16})
    with pytest.raises(UsageError, match="other data"):
        other.resume()


def test_a_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    make_trainer(tmp_path, stop=lambda: True).run()
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    state = newest / "state.safetensors"
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(CheckpointError, match=r"state\.safetensors cannot be read"):
        make_trainer(tmp_path).resume()


def test_only_the_newest_two_checkpoints_are_kept(tmp_path: Path) -> None:
    make_trainer(tmp_path, "epochs=4").run()
    kept = sorted(path.name for path in (tmp_path / "checkpoints").glob("step-*"))
    assert len(kept) == 2
    assert (tmp_path / "checkpoints" / "latest").read_text() == kept[-1]


def test_a_loss_that_is_no_number_stops_the_run_with_advice(tmp_path: Path) -> None:
    with pytest.raises(DivergedError) as caught:
        make_trainer(tmp_path, "optimiser.learning_rate=1e20").run()
    assert "learning_rate" in caught.value.hint


def test_bfloat16_channels_last_and_compile_train_to_about_the_same(tmp_path: Path) -> None:
    losses = {}
    for name, overrides in {"plain": [], "fast": ["precision=bfloat16", "channels_last=true"]}.items():
        trainer = make_trainer(tmp_path / name, *overrides)
        trainer.run()
        losses[name] = trainer.history[-1]["loss"]
    assert losses["fast"] == pytest.approx(losses["plain"], rel=0.05)
    assert losses["fast"] != losses["plain"]


def command(directory: Path, *arguments: str) -> list[str]:
    overrides = [word for value in ("epochs=400", "monitor.images=0") for word in ("--set", value)]
    rest = ["train", "fs-digits", *overrides, "--run-dir", str(directory), "--device", "cpu", *arguments]
    return [sys.executable, "-m", "holdfast", *rest]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_the_run_and_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals, status: int
) -> None:
    process = subprocess.Popen(
        command(tmp_path, "--save-every", "1"), env=environment(), stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 120
    while checkpoint.latest(tmp_path) is None and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    process.send_signal(number)
    _, messages = process.communicate(timeout=60)
    assert process.returncode == status, messages
    assert "The same command goes on from there" in messages
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    assert not checkpoint.read_info(newest).finished


def test_a_killed_run_goes_on_from_its_last_whole_checkpoint(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(tmp_path, "--save-every", "1"), env=environment(), stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while checkpoint.latest(tmp_path) is None and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.1)
    process.kill()
    process.wait(timeout=30)
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    step = checkpoint.read_info(newest).step
    plan = recipe.load("fs-digits", ["epochs=400", "monitor.images=0"])
    trainer = Trainer(plan, load_data("digits"), tmp_path, ALONE, Watcher(), stop=lambda: True)
    assert trainer.resume()
    assert trainer.run().step == step + 1


def test_two_processes_train_as_one_and_agree(tmp_path: Path) -> None:
    launch = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--nproc-per-node=2",
        "--standalone",
        "-m",
        "holdfast",
    ]
    overrides = ["--set", "epochs=2", "--set", "monitor.images=64"]
    done = subprocess.run(
        [*launch, "train", "pgd-at-digits", *overrides, "--run-dir", str(tmp_path), "--device", "cpu"],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("epoch 2:") == 1, "only the leading process talks"
    newest = checkpoint.latest(tmp_path)
    assert newest is not None
    info = checkpoint.read_info(newest)
    alone = Trainer(
        recipe.load("pgd-at-digits", ["epochs=2", "monitor.images=0"]),
        load_data("digits"),
        tmp_path / "alone",
        ALONE,
        Watcher(),
    )
    alone.run()
    assert info.step == alone.step
    assert info.history[-1]["loss"] == pytest.approx(alone.history[-1]["loss"], rel=0.25)


#: A run in which one process alone finds it time to save: as where it began a little earlier.
_OUT_OF_STEP = """
import sys
from pathlib import Path
import torch
import torch.distributed as dist
from training import recipe
from training.data import load
from training.distributed import World
from training.trainer import Trainer

class Quiet:
    def __getattr__(self, name):
        return lambda *_: None

dist.init_process_group("gloo")
world = World(dist.get_rank(), dist.get_world_size(), torch.device("cpu"))
plan = recipe.load("standard-digits", ["epochs=1", "monitor.images=0"])
every = 0.0 if world.rank else 1e9
trainer = Trainer(plan, load("digits"), Path(sys.argv[1]), world, Quiet(), save_every=every)
assert trainer.run().finished
dist.destroy_process_group()
"""


def test_processes_whose_clocks_differ_save_together(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(_OUT_OF_STEP, encoding="utf-8")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    done = subprocess.run(
        [*launch, str(program), str(tmp_path / "run")],
        env=environment() | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = checkpoint.latest(tmp_path / "run")
    assert found is not None
    assert checkpoint.read_info(found).finished
