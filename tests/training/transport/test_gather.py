"""Two processes that match their images together against one process that has them all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from support import gathered

from training.distributed import World

WHOLE = slice(gathered.IMAGES)


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return gathered.run(tmp_path_factory.mktemp("gathered"))


@pytest.mark.parametrize("name", gathered.MATCHINGS)
def test_gathered_matching_is_one_processs_matching_of_the_whole_batch(
    processes: list[dict[str, Any]], name: str
) -> None:
    whole = gathered.differentiate(WHOLE, gathered.MATCHINGS[name], gather=False)
    for process in processes:
        own, share = process["gathered"][name], slice(*process["share"])
        torch.testing.assert_close(own["distance"], whole["distance"])
        # Each process's gradient is of its own images, times the processes that it is averaged over.
        torch.testing.assert_close(own["clean"], len(processes) * whole["clean"][share])
        torch.testing.assert_close(own["moved"], len(processes) * whole["moved"][share])


@pytest.mark.parametrize("name", gathered.MATCHINGS)
def test_by_default_each_process_matches_its_own_images(processes: list[dict[str, Any]], name: str) -> None:
    for process in processes:
        share = slice(*process["share"])
        alone = gathered.differentiate(share, gathered.MATCHINGS[name], gather=False)
        torch.testing.assert_close(process["apart"][name], alone)


def test_matching_apart_and_together_differ(processes: list[dict[str, Any]]) -> None:
    apart = torch.stack([process["apart"]["sinkhorn"]["distance"] for process in processes]).mean()
    together = processes[0]["gathered"]["sinkhorn"]["distance"]
    assert together < apart - 0.01, "with more images to choose from, a cheaper match is found"


def test_images_scattered_by_two_processes_are_those_of_one(processes: list[dict[str, Any]]) -> None:
    whole = gathered.scatter(WHOLE, gather=True)
    both = torch.cat([process["scattered"] for process in processes])
    # Signs of gradients near zero may differ between batches of different size.
    assert ((both - whole).abs() < 1e-5).float().mean() > 0.999
    alone = torch.cat([gathered.scatter(slice(*process["share"]), gather=False) for process in processes])
    assert ((alone - whole).abs() < 1e-5).float().mean() < 0.99


def test_fs_gans_networks_learn_from_two_processes_what_they_learn_from_one(
    processes: list[dict[str, Any]],
) -> None:
    alone = World(0, 1, torch.device("cpu"))
    whole = gathered.play(alone, WHOLE, gather=True)
    for process in processes:
        torch.testing.assert_close(process["played"], whole, rtol=1e-4, atol=1e-5)
    apart = gathered.play(alone, slice(*processes[0]["share"]), gather=False)
    assert any((apart[name] - value).abs().max() > 1e-3 for name, value in whole.items())


def test_a_single_process_gathers_what_it_has() -> None:
    features = torch.randn(5, 3, requires_grad=True)
    assert World.current(features.device).gather(features) is features
