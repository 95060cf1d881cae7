"""The model card: written from the manifest, and kept in step with it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.tiny import make_tiny_bundle

from holdfast.bundle import CARD, Bundle, BundleError, ChangedFileError
from holdfast.manifest import (
    Calibration,
    Discriminator,
    Evaluation,
    Figure,
    Manifold,
    ThreatModel,
    Transformation,
    TransformationParity,
)
from training.card import add_evaluation, mend_card, render_card, rewrite_card


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_tiny_bundle(tmp_path)


def _evaluation(seed: int = 7, **changes: object) -> Evaluation:
    figure = Figure(
        name="PGD-20",
        attack="pgd",
        parameters={"steps": 20, "step_size": 2 / 255},
        threat_model=ThreatModel(norm="linf", epsilon=8 / 255),
        accuracy=0.4321,
        interval=(0.4225, 0.4418),
        images=10_000,
        passes=(41.0, 40.0),
    )
    content = {
        "command": "holdfast evaluate tiny/1 --attack pgd-20",
        "date": datetime(2026, 2, 3, tzinfo=UTC),
        "dataset": "colours, all 10,000 test images",
        "seed": seed,
        "figures": [figure],
    }
    return Evaluation.model_validate(content | changes)


def test_an_added_evaluation_is_in_the_manifest_and_on_the_card_and_the_bundle_still_opens(
    bundle: Path,
) -> None:
    before = len(Bundle.open(bundle).manifest.evaluations)
    add_evaluation(bundle, _evaluation())
    opened = Bundle.open(bundle)
    assert len(opened.manifest.evaluations) == before + 1
    assert opened.manifest.evaluations[-1] == _evaluation()
    card = (bundle / CARD).read_text(encoding="utf-8")
    row = "| PGD-20 | pgd (steps 20, step_size 2/255) | L∞ 8/255 | none | 43.2% | 42.2% to 44.2% | 10,000 |"
    assert f"{row} 41 + 40 |" in card
    assert "holdfast evaluate tiny/1 --attack pgd-20" in card


def test_the_newest_evaluation_comes_first(bundle: Path) -> None:
    add_evaluation(bundle, _evaluation())
    card = (bundle / CARD).read_text(encoding="utf-8")
    assert card.index("### 2026-02-03") < card.index("### 2026-01-02")


def test_what_is_measured_again_on_as_many_images_is_taken_out(bundle: Path) -> None:
    def images(*evaluations: Evaluation) -> list[int]:
        for evaluation in evaluations:
            add_evaluation(bundle, evaluation)
        found = Bundle.open(bundle).manifest.evaluations
        return [each.figures[0].images for each in found if each.dataset.startswith("shapes")]

    def on(count: int, **changes: object) -> Evaluation:
        (figure,) = _evaluation().figures
        changed = figure.model_copy(update={"images": count, **changes})
        return _evaluation(dataset=f"shapes, first {count} of 900 test images, digest abc", figures=[changed])

    assert images(on(100), on(200)) == [200]
    assert images(on(50)) == [200], "what says less is not put in"
    assert images(on(300, name="PGD-40")) == [200, 300], "what says something else is"
    other = on(400).model_copy(update={"dataset": "shapes, all 900 test images, digest def"})
    assert images(other) == [200, 300, 400]


def test_norms_that_an_attack_needs_are_on_the_card(bundle: Path) -> None:
    (figure,) = _evaluation().figures
    free = figure.model_copy(update={"name": "ddn", "threat_model": None, "distance": 0.4567})
    add_evaluation(bundle, _evaluation(figures=[figure, free]))
    card = (bundle / CARD).read_text(encoding="utf-8")
    assert "| images | passes | mean norm |" in card
    assert "| 10,000 | 41 + 40 | 0.457 |" in card
    assert "| 10,000 | 41 + 40 |  |" in card


def test_a_doubt_is_said_beside_the_figures(bundle: Path) -> None:
    add_evaluation(bundle, _evaluation(unreliable="the gradient is masked"))
    assert "Do not rely on the robust figures: the gradient is masked" in (bundle / CARD).read_text("utf-8")


def test_a_model_without_figures_says_that_nothing_is_known(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest.model_copy(update={"evaluations": []})
    assert "accuracy and robustness of this model are unknown" in render_card(manifest)


def test_the_card_says_how_the_model_was_trained_and_what_it_is_meant_for(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    run = manifest.training.model_copy(
        update={"seconds": 5460.0, "hardware": "a pocket calculator", "seed": 11}
    )
    card = render_card(manifest.model_copy(update={"training": run}))
    for fact in ("1 h 31 min", "a pocket calculator", "| Seed | 11 |", "L∞ 8/255", "method: standard"):
        assert fact in card
    for name, entry in manifest.files.items():
        assert (entry.sha256 in card) == (name != CARD)


def test_a_bar_in_a_name_does_not_break_a_table(bundle: Path) -> None:
    manifest = Bundle.open(bundle).manifest
    card = render_card(manifest.model_copy(update={"classes": ["a|b", "c"]}))
    assert "tells 2 classes apart: a\\|b, c |" in card


def test_a_damaged_card_is_written_anew(bundle: Path) -> None:
    rewrite_card(bundle)
    good = (bundle / CARD).read_bytes()
    (bundle / CARD).write_bytes(good.replace(b"tiny", b"huge"))
    with pytest.raises(ChangedFileError):
        Bundle.open(bundle)
    rewrite_card(bundle)
    assert (bundle / CARD).read_bytes() == good
    Bundle.open(bundle)


@pytest.mark.parametrize("at", ["card", "manifest"])
def test_a_kill_between_card_and_manifest_costs_nothing(
    bundle: Path, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        # Nothing is tidied up either: the process is gone.
        patched.setattr(Path, "unlink", lambda *_, **__: None)
        patched.setattr(
            "training.card.write_manifest" if at == "manifest" else "pathlib.Path.replace", killed
        )
        with pytest.raises(Killed):
            add_evaluation(bundle, _evaluation())
    if at == "manifest":
        with pytest.raises(ChangedFileError):
            Bundle.open(bundle)
    else:
        assert list(bundle.glob(f".{CARD}.*")), "it was being written"
        assert Bundle.open(bundle).manifest.evaluations
    mend_card(bundle)
    Bundle.open(bundle)
    add_evaluation(bundle, _evaluation())
    assert Bundle.open(bundle).manifest.evaluations[-1] == _evaluation()


def test_a_bundle_can_be_opened_while_it_is_measured(bundle: Path) -> None:
    done = threading.Event()

    def measure() -> None:
        for seed in range(60):
            add_evaluation(bundle, _evaluation(seed))
        done.set()

    thread = threading.Thread(target=measure)
    thread.start()
    opened = 0
    while not done.is_set():
        Bundle.open(bundle)
        opened += 1
    thread.join()
    assert opened > 10


def test_evaluations_added_at_once_all_arrive(bundle: Path) -> None:
    threads = [threading.Thread(target=add_evaluation, args=(bundle, _evaluation(seed))) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {e.seed for e in Bundle.open(bundle).manifest.evaluations} >= set(range(8))


def test_adding_to_what_is_no_bundle_says_so(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle"):
        add_evaluation(tmp_path / "nothing", _evaluation())


def test_evidence_and_calibration_are_said_with_the_rates_that_the_thresholds_hold(bundle: Path) -> None:
    plain = Bundle.open(bundle).manifest
    assert "manifold" not in render_card(plain)
    manifold = Manifold(
        evidence="centre",
        uncertain=0.8,
        suspect=0.6,
        false_positive_rates=(0.05, 0.01),
        images=1000,
    )
    calibration = Calibration(
        temperature=0.25, error_before=0.4, error_after=0.02, images=1000, test_images=900
    )
    card = render_card(plain.model_copy(update={"manifold": manifold, "calibration": calibration}))
    assert "Below 0.8 an image is called uncertain, below\n0.6 suspect" in card
    assert "5% and 1% of\n1,000 clean held-out images" in card
    assert "from 40.0% to\n2.0%" in card


def test_the_card_says_how_far_a_transformation_moves_an_image_and_how_well_its_graphs_agree(
    bundle: Path,
) -> None:
    plain = Bundle.open(bundle).manifest
    manifold = Manifold(
        evidence="discriminator",
        discriminator=Discriminator(architecture="mlp-2-64", latent="features"),
        uncertain=0.6,
        suspect=0.9,
        false_positive_rates=(0.05, 0.01),
        images=1000,
    )
    parity = TransformationParity(images=84, median=1e-6, largest=2e-3, within=0.988)
    imt = Transformation(epsilon=8 / 255, parity=parity)
    card = render_card(plain.model_copy(update={"manifold": manifold, "imt": imt}))
    assert "Above 0.6 an image is called uncertain" in card
    assert "8/255 towards what the\ndiscriminator finds natural" in card
    assert "Of 84 images, 98.800% have logits within 1e-4" in card
