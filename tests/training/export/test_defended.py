"""Bundles of defended networks: IMT and IMT+ as graphs, manifold evidence, and what rebuilds from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from support.networks import assemble, bodies, make_facts, make_network, random_images, randomise
from torch import Tensor, nn

from holdfast.bundle import DEFENDED, FEATURES, MANIFOLD, PREDICT, TORCHSCRIPT, WEIGHTS, Bundle
from holdfast.errors import UsageError
from holdfast.manifest import Discriminator, Transformation
from holdfast.manifold import classify_transformed, transform
from holdfast.sessions import open_session
from training.export import HeldOut, export_bundle
from training.export.graph import to_onnx
from training.export.graphs import transformation_graph
from training.export.trace import graph_of, trace_transformation
from training.export.verify import open_graph
from training.export.weights import write_graph, write_weights
from training.models import Network
from training.models.defended import DefendedNetwork, Latent
from training.models.discriminator import build_discriminator
from training.models.evidence import classify_with_evidence
from training.rebuild import rebuild

SHAPE = (3, 8, 8)
EPSILON = 8 / 255
HALVED = (0.3, 0.7)


def defend(network: Network, latent: Latent = "features", judge: str = "mlp-1-16") -> DefendedNetwork:
    inputs = network.width if latent == "features" else network.classes
    discriminator = build_discriminator(judge, inputs=inputs, classes=network.classes)
    randomise(discriminator, seed=3)
    with torch.no_grad():
        discriminator.head.weight /= 4  # so that scores are spread over (0, 1)
    return DefendedNetwork(network, discriminator, latent).eval().requires_grad_(False)


def held_out(network: Network, count: int = 60) -> HeldOut:
    images = random_images(count, SHAPE, seed=7)
    with torch.no_grad():
        return HeldOut(images, network(torch.from_numpy(images)).argmax(1).numpy())


def export(network: Network, store: Path, *, torchscript: bool = False, **facts: object) -> Bundle:
    root = export_bundle(
        network,
        name="defended",
        version="1",
        store=store,
        facts=replace(make_facts(network, SHAPE, "wrn-10-1"), **facts),  # type: ignore[arg-type]
        calibration_images=random_images(8, SHAPE),
        held_out=held_out(network),
        torchscript=torchscript,
    )
    return Bundle.open(root)


def defended_facts(judge: str, latent: Latent) -> dict[str, object]:
    return {
        "discriminator": Discriminator(architecture=judge, latent=latent),
        "imt": Transformation(epsilon=EPSILON, halved=HALVED),
    }


@pytest.fixture(scope="module", params=[("mlp-1-16", "features"), ("wrn-10-1", "logits")])
def exported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[DefendedNetwork, Bundle]:
    judge, latent = request.param
    network = defend(make_network("wrn-10-1"), latent, judge)
    store = tmp_path_factory.mktemp("store")
    return network, export(network, store, torchscript=True, **defended_facts(judge, latent))


def run(bundle: Bundle, graph: str, images: np.ndarray) -> dict[str, np.ndarray]:
    session = open_session(bundle, graph, threads=1)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"images": images}), strict=True))


def expected(network: DefendedNetwork, images: np.ndarray, plus: bool) -> tuple[Tensor, Tensor, Tensor]:
    with torch.no_grad():
        logits, found = classify_transformed(
            network, torch.from_numpy(images), epsilon=EPSILON, halved=HALVED if plus else None
        )
    return logits, torch.sigmoid(found.logit), found.step


@pytest.mark.parametrize("defence", ["imt", "imt+"])
def test_the_graph_answers_what_autograd_torch_answers(
    exported: tuple[DefendedNetwork, Bundle], defence: str
) -> None:
    network, bundle = exported
    images = random_images(200, SHAPE, seed=11)
    found = run(bundle, DEFENDED[defence], images)  # type: ignore[index]
    logits, scores, steps = expected(network, images, defence == "imt+")
    np.testing.assert_allclose(found["manifold"], scores.numpy(), atol=1e-5)
    np.testing.assert_allclose(found["step"], steps.numpy(), atol=1e-7)
    differences = np.abs(found["logits"] - logits.numpy()).max(1)
    # The sign of a gradient that is 0 but for rounding is a toss-up, and moves one value of one image.
    assert (differences < 1e-4).mean() >= 0.95
    assert np.median(differences) < 1e-5
    top = np.sort(logits.numpy(), 1)
    clear = top[:, -1] - top[:, -2] > 2 * differences.max()
    assert np.array_equal(found["logits"].argmax(1)[clear], logits.numpy().argmax(1)[clear])


def test_the_step_is_halved_between_the_thresholds_only(exported: tuple[DefendedNetwork, Bundle]) -> None:
    _, bundle = exported
    found = run(bundle, DEFENDED["imt+"], random_images(200, SHAPE, seed=12))
    within = (found["manifold"] >= HALVED[0]) & (found["manifold"] <= HALVED[1])
    assert 0 < within.sum() < len(within)
    np.testing.assert_allclose(found["step"], np.where(within, EPSILON / 2, EPSILON), rtol=1e-6)
    whole = run(bundle, DEFENDED["imt"], random_images(5, SHAPE))
    np.testing.assert_allclose(whole["step"], EPSILON, rtol=1e-6)


def test_an_image_does_not_depend_on_its_batch_mates(exported: tuple[DefendedNetwork, Bundle]) -> None:
    _, bundle = exported
    images = random_images(9, SHAPE, seed=13)
    session = open_session(bundle, DEFENDED["imt"], threads=1)
    together = session.run(["logits"], {"images": images})[0]
    alone = np.concatenate([session.run(["logits"], {"images": images[i : i + 1]})[0] for i in range(9)])
    assert (np.abs(together - alone).max(1) < 1e-4).sum() >= 8


def test_the_static_graph_gives_the_evidence_too(exported: tuple[DefendedNetwork, Bundle]) -> None:
    network, bundle = exported
    images = random_images(6, SHAPE, seed=14)
    found = run(bundle, PREDICT, images)
    with torch.no_grad():
        logits, scores = classify_with_evidence(network, torch.from_numpy(images))
    assert scores is not None
    np.testing.assert_allclose(found["logits"], logits.numpy(), atol=1e-4)
    np.testing.assert_allclose(found["manifold"], scores.numpy(), atol=1e-5)


def test_the_manifold_graph_gives_what_the_step_is_made_of(exported: tuple[DefendedNetwork, Bundle]) -> None:
    network, bundle = exported
    images = random_images(6, SHAPE, seed=15)
    found = run(bundle, MANIFOLD, images)
    moved = np.clip(images - np.float32(EPSILON) * np.sign(found["gradient"]), 0, 1)
    again = transform(network.manifold_logit, torch.from_numpy(images), epsilon=EPSILON)
    assert (np.abs(moved - again.images.numpy()) < 1e-6).mean() > 0.999
    np.testing.assert_allclose(found["logit"], again.logit.numpy(), atol=1e-5)


def test_the_manifest_says_all_that_serving_and_rebuilding_need(
    exported: tuple[DefendedNetwork, Bundle],
) -> None:
    network, bundle = exported
    manifest = bundle.manifest
    assert manifest.defences == ["none", "imt", "imt+"]
    assert manifest.imt is not None
    assert manifest.imt.parity is not None
    assert manifest.imt.parity.median < 1e-4
    assert manifest.manifold is not None
    assert manifest.calibration is not None
    again = rebuild(bundle)
    assert isinstance(again, DefendedNetwork)
    images = torch.from_numpy(random_images(4, SHAPE))
    with torch.no_grad():
        torch.testing.assert_close(again.manifold_logit(images), network.manifold_logit(images))
        torch.testing.assert_close(again(images), network(images))


def test_the_thresholds_hold_their_rates_on_the_held_out_images(
    exported: tuple[DefendedNetwork, Bundle],
) -> None:
    network, bundle = exported
    manifold = bundle.manifest.manifold
    assert manifold is not None
    chosen = held_out(network).images[: manifold.images]
    scores = run(bundle, PREDICT, chosen)["manifold"]
    verdicts = [manifold.verdict(float(score)) for score in scores]
    assert verdicts.count("suspect") <= 0.01 * len(scores)
    assert verdicts.count("suspect") + verdicts.count("uncertain") <= 0.05 * len(scores)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_torchscript_offers_the_manifold_logit_to_autograd(exported: tuple[DefendedNetwork, Bundle]) -> None:
    network, bundle = exported
    loaded = torch.jit.load(bundle.path(TORCHSCRIPT))  # type: ignore[no-untyped-call]
    images = torch.from_numpy(random_images(5, SHAPE, seed=16))
    with torch.no_grad():
        logits, found = classify_transformed(loaded, images, epsilon=EPSILON)
        reference, own = classify_transformed(network, images, epsilon=EPSILON)
    torch.testing.assert_close(found.logit, own.logit, atol=1e-5, rtol=1e-4)
    assert ((logits - reference).abs().amax(1) < 1e-4).sum() >= 4


def test_class_centres_are_evidence_and_come_with_a_graph_of_the_features(tmp_path: Path) -> None:
    network = make_network("wrn-10-1", head="cosine")
    bundle = export(network, tmp_path, head="cosine")
    manifest = bundle.manifest
    assert manifest.defences == ["none"]
    assert manifest.manifold is not None
    assert manifest.manifold.evidence == "centre"
    assert manifest.manifold.suspect <= manifest.manifold.uncertain
    images = random_images(6, SHAPE, seed=17)
    found = run(bundle, PREDICT, images)
    with torch.no_grad():
        features = network.features(torch.from_numpy(images))
        cosines = torch.nn.functional.cosine_similarity(
            features[:, None],
            network.head.centres[None],
            dim=2,  # type: ignore[operator, index]
        )
    np.testing.assert_allclose(found["manifold"], cosines.amax(1).numpy(), atol=1e-5)
    session = open_session(bundle, FEATURES, threads=1)
    slope = np.random.default_rng(0).normal(size=features.shape).astype(np.float32)
    answer = session.run(["features"], {"images": images, "slope": slope})[0]
    np.testing.assert_allclose(answer, features.numpy(), atol=1e-4)


def test_a_defended_network_is_not_exported_without_held_out_images(tmp_path: Path) -> None:
    network = defend(make_network("wrn-10-1"))
    with pytest.raises(UsageError, match="held-out"):
        export_bundle(
            network,
            name="defended",
            version="1",
            store=tmp_path,
            facts=make_facts(network, SHAPE),
            calibration_images=random_images(8, SHAPE),
        )


def test_pooling_that_leaves_a_row_out_of_one_channel_keeps_the_batch_free() -> None:
    body = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Flatten())
    shape = (1, 7, 6)
    network = defend(assemble(body, shape))
    program = trace_transformation(network, shape, epsilon=EPSILON, halved=HALVED)
    for batch in (1, 5):
        assert program.module()(torch.zeros(batch, *shape))[0].shape[0] == batch
    to_onnx(program, name="imt", inputs=["images"], outputs=["logits", "manifold", "step"])


@given(drawn=bodies())
@settings(max_examples=5, deadline=None)
def test_random_networks_are_transformed_alike(drawn: tuple[nn.Module, tuple[int, int, int]]) -> None:
    body, shape = drawn
    network = defend(assemble(body, shape))
    program = trace_transformation(network, shape, epsilon=EPSILON, halved=HALVED)
    model = to_onnx(program, name="imt", inputs=["images"], outputs=["logits", "manifold", "step"])
    assert model.opset_imports[""] == 18
    for batch in (1, 4):
        images = torch.from_numpy(random_images(batch, shape, seed=batch))
        logits, scores, steps = program.module()(images)
        with torch.no_grad():
            reference, found = classify_transformed(network, images, epsilon=EPSILON, halved=HALVED)
        torch.testing.assert_close(scores, torch.sigmoid(found.logit), atol=1e-5, rtol=1e-4)
        leaf = images.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(network.manifold_logit(leaf).sum(), leaf)
        size = gradient.abs()
        # A sign is anybody's guess where the gradient is 0 but for rounding.
        clear = ((size == 0) | (size > 1e-3 * size.amax((1, 2, 3), keepdim=True))).flatten(1).all(1)
        clear &= torch.isclose(steps, found.step)
        torch.testing.assert_close(logits[clear], reference[clear], atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("architecture", "arguments"),
    [
        ("preact-resnet-18", {"size": (9, 9), "channels": 3, "base": 8}),
        ("mat-vgg", {"size": (12, 12), "channels": 1, "width": 16}),
        ("small-cnn", {"size": (8, 8), "channels": 1}),
    ],
)
def test_every_architecture_is_transformed_alike_on_onnx_runtime(
    architecture: str, arguments: dict[str, Any], tmp_path: Path
) -> None:
    network = defend(make_network(architecture, **arguments))
    shape = (arguments["channels"], *arguments["size"])
    write_weights(network, tmp_path / WEIGHTS)
    graph = transformation_graph(network, shape, name="imt", epsilon=EPSILON, halved=HALVED)
    write_graph(graph, tmp_path / "imt.onnx", tmp_path / WEIGHTS)
    images = random_images(50, shape, seed=21)
    logits, scores, steps = open_graph(tmp_path / "imt.onnx").run(None, {"images": images})
    reference, expected_scores, expected_steps = expected(network, images, plus=True)
    np.testing.assert_allclose(scores, expected_scores.numpy(), atol=1e-5)
    np.testing.assert_allclose(steps, expected_steps.numpy(), atol=1e-7)
    assert (np.abs(logits - reference.numpy()).max(1) < 1e-4).mean() >= 0.95


def test_a_gradient_of_exactly_zero_moves_nothing() -> None:
    class Flat(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3)) * 0 + 1

    network = defend(assemble(Flat(), SHAPE))
    images = torch.from_numpy(random_images(3, SHAPE))
    assert torch.equal(transform(network.manifold_logit, images, epsilon=EPSILON).images, images)
    traced = graph_of(
        lambda x: transform_only(network, x),
        [images],
    )
    assert torch.equal(traced(images), images)


def transform_only(network: DefendedNetwork, images: Tensor) -> Tensor:
    from holdfast.manifold import transform_traceably

    return transform_traceably(network.manifold_logit, images, epsilon=EPSILON).images


def test_oldest_and_newest_opset_are_what_is_promised(exported: tuple[DefendedNetwork, Bundle]) -> None:
    import onnx

    _, bundle = exported
    for graph in (*DEFENDED.values(), MANIFOLD):
        model = onnx.load(bundle.path(graph))
        onnx.checker.check_model(str(bundle.path(graph)), full_check=True)
        assert [entry.version for entry in model.opset_import if not entry.domain] == [18]
