"""What the speed of attacks is quoted by: other sides' time over our engine's, in the same round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from paired import Spread, paired_ratio
from report import Sheet

OURS = "our engine, ONNX Runtime"
OURS_TORCH = "our engine, eager torch"
GRADIENTS = "bare gradients, ONNX Runtime"


@dataclass(frozen=True)
class Turn:
    """One measurement of a side.

    Attributes:
        seconds: Of one attack on the batch.
        model: Of these, those inside calls of the model; None where no clock was around them.
    """

    seconds: float
    model: float | None = None


#: A number of threads and a batch size.
Case = tuple[int, int]
Measured = dict[Case, dict[str, list[Turn]]]


def seconds_of(turns: Sequence[Turn]) -> list[float]:
    """The seconds of each turn."""
    return [turn.seconds for turn in turns]


def own_share(turns: Sequence[Turn]) -> Spread:
    """What the engine takes by itself, over what its model takes, in each turn."""
    return Spread.of([turn.seconds / turn.model - 1 for turn in turns if turn.model])


def ratio_sheet(measured: Measured) -> Sheet:
    """How many times longer each other side takes than our engine on ONNX Runtime."""
    names = [name for name in next(iter(measured.values())) if name not in (OURS, GRADIENTS)]
    sheet = Sheet(
        f"Time of the others over that of {OURS}",
        (">threads", ">batch", *(f">{name}" for name in names)),
        "Medians of the ratios within a round, with the quartiles. Above 1 we are faster.",
    )
    for (threads, batch), turns in measured.items():
        ours = seconds_of(turns[OURS])
        ratios = [paired_ratio(seconds_of(turns[name]), ours).show() for name in names]
        sheet.add(str(threads), str(batch), *ratios)
    return sheet


def overhead_sheet(measured: Measured, steps: int) -> Sheet:
    """What the engine costs over the model."""
    sheet = Sheet(
        "What the engine adds to the model's time",
        (">threads", ">batch", ">ONNX Runtime, %", ">eager torch, %", f">over {steps} bare gradients"),
        "The per cent are the time outside of all calls of the model, over the time inside. The last column "
        f"is the whole attack over {steps} calls for a gradient and nothing else: it has the logits of the "
        "clean images, of the results and of their 8-bit copies in it.",
    )
    for (threads, batch), turns in measured.items():
        shares = (own_share(turns[name]).show(scale=100) for name in (OURS, OURS_TORCH))
        whole = paired_ratio(seconds_of(turns[OURS]), seconds_of(turns[GRADIENTS])).show()
        sheet.add(str(threads), str(batch), *shares, whole)
    return sheet


def time_sheet(measured: Measured) -> Sheet:
    """Each side by itself."""
    cases = list(measured)
    sheet = Sheet(
        "Each side by itself, ms an attack",
        ("side", *(f">{t} thread{'s' * (t > 1)}, batch {b}" for t, b in cases)),
        "Medians over the rounds. They move with the machine's speed: compare by the ratios above.",
    )
    for name in measured[cases[0]]:
        times = (Spread.of(seconds_of(measured[case][name])).median for case in cases)
        sheet.add(name, *(f"{1000 * value:,.1f}" for value in times))
    return sheet
