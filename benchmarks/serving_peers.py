"""The gateway beside other model servers, and beside a bare loop over the same ONNX session.

    python benchmarks/peer_environments.py                 # once: an environment for each peer
    python benchmarks/serving_peers.py --rounds 5

Every side serves the same ONNX graph with the same session settings and, in sum, the same number of
threads, decodes the same image files with the same function, and answers the class and the probability of
each in JSON. Each peer is a small app in ``benchmarks/peers``, written as its own documentation advises;
where that leaves a choice, such as several workers or one of several threads, the choices are tried first
and the fastest is measured.

A round visits every side: starts it, waits for its first right answer, puts it under the load of 1, 4, 16
and 64 callers, looks at its memory, and ends it. So no side has company while it is measured, and its start
is measured in every round. The bare loop runs before each server. Every second round goes backwards. Every
answer must be right. A peer that fails is left out, and the report says why.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer
from bare_loop import BareLoop
from classified import Images, describe_model, expect, find_bundle, find_images, session_threads, temperature
from gateway_report import BARE, compare, ratio_sheet
from http_load import LoadError
from machine import describe_company, describe_machine
from report import Report, command_line, deliver, find_place, run
from servers import GATEWAY, ServerError, environment
from serving_report import busy_with_others, by_callers, load_sheet, start_sheet, visits_as_json
from serving_sides import ENVIRONMENTS, MAX_BATCH, PEERS, Layout, Peer
from serving_visit import Contender, Visit, contender, the_gateway, visit_loop, visit_server

from holdfast.bundle import Bundle
from holdfast.console import progress, stderr
from holdfast.errors import UsageError

_LIBRARIES = ("holdfast", "onnxruntime", "numpy", "pillow", "fastapi", "uvicorn")
#: Callers while a peer's layouts are compared, and how often each is tried.
_TRIED_WITH, _TRIES = 16, 2


def main(
    store: Annotated[Path, typer.Option(help="The model store.")] = Path("model_store"),
    model: Annotated[
        str | None, typer.Option(help="NAME or NAME/VERSION. [default: the most robust]")
    ] = None,
    images: Annotated[Path, typer.Option(help="Directory of PNG, JPEG or WebP files.")] = Path(
        "examples/images"
    ),
    environments: Annotated[Path, typer.Option(help="Where the peers' environments are.")] = ENVIRONMENTS,
    peer: Annotated[
        list[str] | None, typer.Option(help="A peer to measure; may be repeated. [default: all]")
    ] = None,
    callers: Annotated[
        list[int] | None, typer.Option(min=1, help="How many; may be repeated. [default: 1, 4, 16, 64]")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.05, help="Seconds of each measurement.")] = 3.0,
    warm_up: Annotated[float, typer.Option(min=0.05, help="Seconds of load before a server's first.")] = 2.0,
    rounds: Annotated[int, typer.Option(min=1, help="Visits to each side.")] = 5,
    tune: Annotated[
        bool, typer.Option("--tune/--no-tune", help="Try each peer's layouts, or take one worker.")
    ] = True,
    json_path: Annotated[Path | None, typer.Option("--json", help="File for every value.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown.")] = False,
    update: Annotated[
        Path | None, typer.Option(help="Document to write the figures into, between this benchmark's marks.")
    ] = None,
) -> None:
    """Measure the gateway beside other model servers and a bare loop."""
    peers = choose(peer)
    if update is not None:
        find_place(update, "serving_peers")
    bundle = find_bundle(store, model)
    files = find_images(images)
    threads = session_threads(bundle)
    machine = describe_machine(*_LIBRARIES)
    with BareLoop(bundle.root, files, threads, environment()) as loop:
        known = expect(files, loop.logits(), temperature(bundle))
    load = Load(bundle, known, sorted(set(callers or (1, 4, 16, 64))), seconds, warm_up, threads)
    failures = {each.name: why for each in peers if (why := each.missing(environments))}
    versions = {each.name: each.version(environments) for each in peers if each.name not in failures}
    layouts: dict[str, Layout] = {}
    for each in peers:
        if each.name not in failures:
            options = each.layouts(threads)
            try:
                layouts[each.name] = fastest(each, options, load, environments) if tune else options[0]
            except (ServerError, LoadError) as error:
                failures[each.name] = error.message
    sides = [the_gateway(bundle, store)]
    sides += [
        contender(each, bundle, layouts[each.name], environments) for each in peers if each.name in layouts
    ]
    visits = visit_all(sides, load, rounds, failures)
    comparisons = compare(by_callers(visits))
    others = busy_with_others(visits)
    words = {BARE: f"in process × {threads}", GATEWAY: f"in process × {threads}"}
    words |= {name: layout.describe() for name, layout in layouts.items()}
    peers_seen = ", ".join(f"{name} {versions[name]}" for name in visits if name in versions)
    facts = [
        f"Machine: {machine.describe()}; other processes used {others:.2f} cores meanwhile.",
        f"With {machine.describe_versions()}; {peers_seen or 'no peers'}.",
        f"Model: {bundle.name} version {bundle.version}, {describe_model(bundle)}; {known.describe()}.",
        f"{rounds} rounds, {seconds:g} s at each number of callers after {warm_up:g} s, {machine.date}; "
        f"batches of at most {MAX_BATCH}.",
        *(f"Left out: {name}: {_first_line(why)}" for name, why in failures.items()),
        f"Command: `{command_line()}`",
    ]
    content: dict[str, Any] = {
        "command": command_line(),
        "machine": machine.as_json(),
        "company": describe_company(others),
        "model": f"{bundle.name}/{bundle.version}",
        "threads": threads,
        "images": len(known.files),
        "seconds": seconds,
        "versions": versions,
        "layouts": {name: layout._asdict() for name, layout in layouts.items()},
        "left_out": failures,
        "comparisons": [comparison.as_json() for comparison in comparisons],
        "visits": visits_as_json(visits),
    }
    sheets = [ratio_sheet(comparisons, rounds), load_sheet(visits), start_sheet(visits, words)]
    report = Report("serving_peers", facts, sheets, content)
    deliver(report, markdown=markdown, json_path=json_path, document=update)


@dataclass(frozen=True)
class Load:
    """What every side is measured with.

    Attributes:
        bundle: The model.
        images: What is sent, with what is right.
        callers: Numbers of callers.
        seconds: Of each measurement.
        warm_up: Seconds of load before a server's first.
        threads: Of the sessions of a side, in sum.
    """

    bundle: Bundle
    images: Images
    callers: Sequence[int]
    seconds: float
    warm_up: float
    threads: int
    classes: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", self.bundle.manifest.classes)

    def visit(self, side: Contender, callers: Sequence[int], beside: Visit | None = None) -> Visit:
        """Visit a server."""
        loop = None if beside is None else beside.levels[1]
        return visit_server(side, self.images, self.classes, callers, self.seconds, self.warm_up, beside=loop)

    def visit_loop(self) -> Visit:
        """Visit the bare loop."""
        return visit_loop(self.bundle, self.images, self.threads, self.seconds)


def choose(names: Sequence[str] | None) -> list[Peer]:
    """The peers of these names, in whatever case; all by default.

    Raises:
        UsageError: There is no such peer.
    """
    known = {each.key: each for each in PEERS}
    wanted = [name.lower().replace(" ", "-") for name in names] if names else list(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise UsageError(f"There is no peer {', '.join(unknown)}.", hint=f"There are: {', '.join(known)}.")
    return [known[name] for name in known if name in wanted]


def fastest(peer: Peer, layouts: Sequence[Layout], load: Load, environments: Path) -> Layout:
    """The layout in which a peer answers most images per second; each is tried in turn.

    Raises:
        ServerError, LoadError: It works in none.
    """
    if len(layouts) == 1:
        return layouts[0]
    rates: dict[Layout, list[float]] = {layout: [] for layout in layouts}
    failures: dict[Layout, ServerError | LoadError] = {}
    with progress(f"Trying {peer.name}", len(layouts) * _TRIES, unit="tries") as shown:
        for _ in range(_TRIES):
            for layout in layouts:
                if layout not in failures:
                    side = contender(peer, load.bundle, layout, environments)
                    try:
                        rates[layout].append(load.visit(side, [_TRIED_WITH]).levels[_TRIED_WITH].rate)
                    except (ServerError, LoadError) as error:
                        failures[layout] = error
                shown.advance(note=layout.describe())
    working = {layout: statistics.median(seen) for layout, seen in rates.items() if layout not in failures}
    if not working:
        raise next(iter(failures.values()))
    return max(working, key=lambda layout: working[layout])


def visit_all(
    sides: Sequence[Contender], load: Load, rounds: int, failures: dict[str, str]
) -> dict[str, list[Visit]]:
    """Visit every side once a round, the bare loop before each server, every second round backwards.

    Args:
        sides: The gateway first; it must not fail.
        load: What they are measured with.
        rounds: How many.
        failures: What failed and why is added to it; it has no visits then.

    Returns:
        By side, its visits. The bare loop's are those before the gateway.
    """
    visits: dict[str, list[Visit]] = {GATEWAY: [], BARE: []}
    visits |= {side.name: [] for side in sides}
    with progress("Measuring", rounds * len(sides), unit="visits") as shown:
        for number in range(rounds):
            for side in sides if number % 2 == 0 else sides[::-1]:
                if side.name not in failures:
                    try:
                        loop = load.visit_loop()
                        visits[side.name].append(load.visit(side, load.callers, loop))
                    except (ServerError, LoadError) as error:
                        if side.name == GATEWAY:
                            raise
                        failures[side.name] = error.message
                        stderr.print(f"{side.name} is left out: {error.message}", markup=False)
                    else:
                        if side.name == GATEWAY:
                            visits[BARE].append(loop)
                shown.advance(note=side.name)
    return {name: seen for name, seen in visits.items() if name not in failures}


def _first_line(text: str) -> str:
    return text.splitlines()[0]


if __name__ == "__main__":
    run(main)
