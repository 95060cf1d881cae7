"""The gateway's memory over some thousand requests of every kind, and the benchmark that judges it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from http_load import LoadError
from memory_load import MIXTURE, Request, Sample, mixture, send
from memory_report import growth, growth_sheet, kind_sheet, settled
from servers import gateway
from support.tiny import solid_png

from holdfast.bundle import Bundle

MIB = 2**20
COLOURS = ("red", "green", "blue")


def samples(per_sample: float, *, settling: float = 0.0, peak: float = 0.0) -> list[Sample]:
    """200 samples of 100,000 requests: so many bytes more in each, more at first, and one that stands out."""
    found = []
    for number in range(201):
        held = 100 * MIB + per_sample * number + settling * min(number, 20) + (peak if number == 150 else 0)
        noise = (number * 7919 % 13 - 6) * 4096
        found.append(Sample(500 * number, int(held + noise), 8, 20))
    return found


def test_memory_that_only_settles_is_flat_and_memory_that_leaks_is_not() -> None:
    bound = 8 * MIB
    calm = growth(samples(0.0, settling=MIB), bound)
    assert calm.flat
    assert calm.low <= 0 <= calm.high < MIB / 2
    # 100 bytes for each request are 9.5 MiB over a hundred thousand.
    leak = growth(samples(100 * 500), bound)
    assert not leak.flat
    assert leak.slope == pytest.approx(100 * 100_000, rel=0.05)
    assert leak.low < leak.slope < leak.high


def test_a_single_peak_moves_the_slope_little_and_is_not_overlooked() -> None:
    found = growth(samples(0.0, peak=50 * MIB), 8 * MIB)
    assert found.high < MIB / 2
    assert found.peak - found.median == pytest.approx(50 * MIB, rel=0.01)
    assert not found.flat


def test_the_tables_tell_the_growth_and_what_was_sent() -> None:
    seen = samples(10 * 500)
    rows = {row[0]: row[1] for row in growth_sheet(growth(seen, 8 * MIB), seen).rows}
    assert rows["growth per 100,000 requests, MiB"].startswith("0.9")
    assert rows["threads after the first fifth, and at the end"] == "8, 8"
    assert settled(seen)[0].requests > 20_000
    assert [row[0] for row in kind_sheet({"few": 1, "many": 1200}).rows] == ["many", "few"]


def test_the_mixture_names_a_hundred_requests_and_something_for_each_kind(tiny_bundle: Path) -> None:
    assert sum(MIXTURE.values()) == 100
    kinds = mixture(Bundle.open(tiny_bundle), [solid_png(colour) for colour in COLOURS])
    assert list(kinds) == list(MIXTURE)
    assert all(kinds.values())


def test_a_status_that_is_not_the_right_one_ends_the_run(tiny_store: Path, tmp_path: Path) -> None:
    with gateway(tiny_store, tmp_path) as server:
        wrong = {"health": [Request("GET", "/readyz", 404)]}
        with pytest.raises(LoadError, match=r"'health' got 200 and not 404"):
            send(server, wrong, requests=10, callers=2, seed=0)


@pytest.mark.slow
def test_the_gateways_memory_grows_by_less_than_six_megabytes_over_three_thousand_requests(
    tiny_store: Path, tmp_path: Path
) -> None:
    kinds = mixture(Bundle.open(tiny_store / "tiny" / "1"), [solid_png(colour) for colour in COLOURS])
    with gateway(tiny_store, tmp_path) as server:
        send(server, kinds, requests=1000, callers=16, seed=1)  # what fills caches and pools
        done = send(server, kinds, requests=3000, callers=16, seed=0)
    assert done.answers.total() == 3000
    assert set(done.answers) == set(MIXTURE)
    held = [sample.rss for sample in done.samples]
    assert max(held[-20:]) - held[0] < 6 * MIB, json.dumps([round(each / MIB, 1) for each in held[::10]])
    assert done.samples[-1].threads <= done.samples[0].threads + 2
    assert done.samples[-1].files <= done.samples[0].files + 20  # those of the callers' connections
