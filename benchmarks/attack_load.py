"""Classification beside attacks: its latency alone, and while as many attacks run as the gateway takes.

    python benchmarks/attack_load.py --store model_store --seconds 5 --rounds 9

One gateway, ``holdfast serve`` with its defaults, is asked to classify by a closed loop of callers, in turns
alone and under attack: A B A B … Under attack, more callers than it has attack workers keep asking for PGD
with many steps, each asking again as soon as it is answered, so that no worker is ever idle and others wait.
The report says how busy the workers really were: a figure under attack is worth what the attack was.
"""

from __future__ import annotations

import http.client
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import psutil  # type: ignore[import-untyped]
import typer
from http_load import LoadError, drive, post
from machine import Company, describe_company, describe_machine
from paired import Spread, alternate, paired_ratio
from report import Report, Sheet, command_line, deliver, run
from servers import Server, gateway

from holdfast.bundle import Bundle, resolve
from holdfast.console import progress
from holdfast.errors import UsageError
from holdfast.image_files import read_image

ALONE, ATTACKED = "alone", "under attack"
#: What is promised: the ninety-ninth percentile under attack over that alone.
PROMISE = 2.0

_LIBRARIES = ("holdfast", "onnxruntime", "numpy", "fastapi", "uvicorn")
_PATIENCE = 120.0
_WORKER = "serving.attacking.worker"


@dataclass(frozen=True)
class Measured:
    """One measurement.

    Attributes:
        rate: Classifications per second.
        p50: Seconds within which half of them were answered.
        p99: Seconds within which 99 % were.
        attacks: Attacks that were answered meanwhile.
        busy: CPUs that the attack workers kept busy.
    """

    rate: float
    p50: float
    p99: float
    attacks: int
    busy: float


class Attackers:
    """Callers that keep a gateway attacking; a context manager.

    Args:
        server: The gateway, ready.
        path: What they ask for.
        image: The image that they send.
        callers: How many there are.
    """

    def __init__(self, server: Server, path: str, image: bytes, callers: int) -> None:
        self._server = server
        self._request = (path, image)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._attack, daemon=True) for _ in range(callers)]
        self.answered = 0
        self.error: str | None = None

    def __enter__(self) -> Attackers:
        """Begin, and wait for the first answer: the workers are up then, and have the model open."""
        for thread in self._threads:
            thread.start()
        end = time.monotonic() + _PATIENCE
        while not self.answered:
            self.check()
            if time.monotonic() > end:
                raise LoadError(f"No attack was answered within {_PATIENCE:g} s.")
            time.sleep(0.01)
        return self

    def __exit__(self, *_details: object) -> None:
        """Wait for the last answers, so that nothing runs any more."""
        self._stop.set()
        for thread in self._threads:
            thread.join(_PATIENCE)

    def check(self) -> None:
        """Whether all was answered as it should.

        Raises:
            LoadError: It was not.
        """
        if self.error is not None:
            raise LoadError(self.error)

    def _attack(self) -> None:
        path, image = self._request
        connection = http.client.HTTPConnection(*self._server.address, timeout=_PATIENCE)
        try:
            while not self._stop.is_set():
                connection.request("POST", path, image, {"Content-Type": "image/png", "Accept": "image/png"})
                response = connection.getresponse()
                body = response.read()
                if response.status != http.HTTPStatus.OK:
                    self.error = (
                        f"An attack was answered {response.status}: {body[:300].decode(errors='replace')}"
                    )
                    return
                with self._lock:
                    self.answered += 1
        except OSError as error:
            self.error = f"An attack was not answered: {error}."
        finally:
            connection.close()


def main(
    store: Annotated[Path, typer.Option(help="The model store.")] = Path("model_store"),
    model: Annotated[str, typer.Option(help="NAME or NAME/VERSION.")] = "pgd-at-cifar10",
    images: Annotated[Path, typer.Option(help="Directory of PNG files.")] = Path("examples/images"),
    seconds: Annotated[float, typer.Option(min=0.05, help="Seconds of each measurement.")] = 5.0,
    rounds: Annotated[int, typer.Option(min=1, help="Measurements of each side.")] = 9,
    callers: Annotated[int, typer.Option(min=1, help="Callers that classify.")] = 4,
    attackers: Annotated[
        int, typer.Option(min=1, help="Callers that attack; more than there are attack workers.")
    ] = 4,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each attack, all of which are taken.")] = 100,
    json_path: Annotated[Path | None, typer.Option("--json", help="File for every value.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    update: Annotated[
        Path | None, typer.Option(help="Document to write the figures into, between this benchmark's marks.")
    ] = None,
) -> None:
    """Measure classification alone and beside as many attacks as the gateway takes."""
    bundle = resolve(model, store)
    contents = read_images(images, bundle)
    machine = describe_machine(*_LIBRARIES)
    measured: dict[str, list[Measured]] = {ALONE: [], ATTACKED: []}
    with (
        tempfile.TemporaryDirectory(prefix="holdfast-bench-") as directory,
        gateway(store, Path(directory)) as server,
    ):
        where = f"/v1/models/{bundle.name}/versions/{bundle.version}"
        requests = [post(f"{where}/classify", content, "image/png", server.host) for content in contents]
        query = f"attack=pgd&steps={steps}&stop_at_success=false&epsilon=8/255"
        besieging = partial(Attackers, server, f"{where}/attack?{query}", contents[0], attackers)
        with besieging():  # for nothing: the workers start, and the model is opened and measured in them
            drive(server.address, requests, concurrency=callers, seconds=min(1.0, seconds))
        sides: dict[str, Callable[[], Measured]] = {
            ALONE: partial(measure, server, requests, callers, seconds),
            ATTACKED: partial(measure_attacked, server, requests, callers, seconds, besieging),
        }
        company = Company()
        with progress("Measuring", rounds * len(sides), unit="measurements") as bar:
            for side, found in alternate(sides, rounds):
                measured[side].append(found)
                bar.advance()
        others = company.cores()
    ratio = paired_ratio([each.p99 for each in measured[ATTACKED]], [each.p99 for each in measured[ALONE]])
    facts = [
        f"Machine: {machine.describe()}; other processes used {others:.2f} cores meanwhile.",
        f"With {machine.describe_versions()}.",
        f"{bundle.name} version {bundle.version}; {callers} callers classify {len(contents)} images in turn, "
        f"{attackers} ask for PGD with {steps} steps.",
        f"{rounds} rounds of {seconds:g} s, {machine.date}.",
        f"Command: `{command_line()}`",
    ]
    content = {
        "command": command_line(),
        "machine": machine.as_json(),
        "company": describe_company(others),
        "callers": callers,
        "attackers": attackers,
        "steps": steps,
        "p99_ratio": ratio.as_json(),
        "promise": PROMISE,
        "kept": ratio.median <= PROMISE,
        "measurements": {side: [vars(each) for each in found] for side, found in measured.items()},
    }
    report = Report("attack_load", facts, [make_sheet(measured, ratio)], content)
    deliver(report, markdown=markdown, json_path=json_path, document=update)


def read_images(directory: Path, bundle: Bundle) -> list[bytes]:
    """The PNG files of a directory, each of which the model takes.

    Raises:
        UsageError: There are none.
        ImageError: One cannot be used.
    """
    files = sorted(directory.glob("*.png"))
    if not files:
        raise UsageError(f"There are no PNG files in {directory}.")
    for file in files:
        read_image(file, bundle.manifest.input)
    return [file.read_bytes() for file in files]


def measure(server: Server, requests: Sequence[bytes], callers: int, seconds: float) -> Measured:
    """Classify, and nothing else."""
    with watching() as busy:
        done = drive(server.address, requests, concurrency=callers, seconds=seconds)
    for _, body in done.answers:
        if "predictions" not in json.loads(body):
            raise LoadError("An answer is no classification.")
    return Measured(done.rate, done.percentile(50), done.percentile(99), 0, busy())


def measure_attacked(
    server: Server,
    requests: Sequence[bytes],
    callers: int,
    seconds: float,
    besieging: Callable[[], Attackers],
) -> Measured:
    """Classify while attacks go on."""
    with besieging() as attackers:
        before = attackers.answered
        found = measure(server, requests, callers, seconds)
        answered = attackers.answered - before
    attackers.check()
    return Measured(found.rate, found.p50, found.p99, answered, found.busy)


@contextmanager
def watching() -> Iterator[Callable[[], float]]:
    """Watch the attack workers in this context; afterwards the CPUs that they kept busy are known."""
    workers = [
        process for process in psutil.Process().children(recursive=True) if _WORKER in process.cmdline()
    ]

    def spent() -> float:
        return sum(sum(process.cpu_times()[:2]) for process in workers)

    began, before = time.monotonic(), spent()
    found = [0.0]
    yield lambda: found[0]
    found[0] = (spent() - before) / (time.monotonic() - began)


def make_sheet(measured: dict[str, list[Measured]], ratio: Spread) -> Sheet:
    """The table."""
    verdict = "kept" if ratio.median <= PROMISE else "not kept"
    sheet = Sheet(
        "Classification beside attacks",
        ("", ">per second", ">p50, ms", ">p99, ms", ">attacks per round", ">CPUs of the attacks"),
        f"Medians over the rounds, with the quartiles. p99 under attack over p99 alone, in the same round: "
        f"{ratio.show()}; at most {PROMISE:g} is promised, and {verdict}.",
    )
    for side, found in measured.items():
        sheet.add(
            side,
            Spread.of([each.rate for each in found]).show(),
            Spread.of([each.p50 for each in found]).show(scale=1000),
            Spread.of([each.p99 for each in found]).show(scale=1000),
            Spread.of([float(each.attacks) for each in found]).show(),
            Spread.of([each.busy for each in found]).show(),
        )
    return sheet


if __name__ == "__main__":
    run(main)
