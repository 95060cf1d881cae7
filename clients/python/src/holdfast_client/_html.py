"""How results look in a notebook."""

from __future__ import annotations

import base64
from html import escape
from typing import TYPE_CHECKING

from holdfast_client._errors import ImageInputError
from holdfast_client._images import encode_image, media_type

if TYPE_CHECKING:
    from holdfast_client._attack_results import AttackResult
    from holdfast_client._job_results import JobResult
    from holdfast_client._predictions import Answer, Prediction

#: Images that are too large for a page are not put into one.
_MOST_BYTES = 2 << 20

_BARS = 5
_COLOURS = {"natural": "#2e7d32", "uncertain": "#b26a00", "suspect": "#c62828"}


def prediction_html(prediction: Prediction) -> str:
    """The image beside bars of the most probable classes."""
    try:
        image = _image(encode_image(prediction.source), "as it was sent")
    except ImageInputError:  # a file that is gone by now
        image = ""
    title = f"{prediction.model}/{prediction.version}, {prediction.defence}"
    return _row(image, _answer(prediction, title))


def attack_html(result: AttackResult) -> str:
    """The image, the adversarial one, the perturbation, and bars before and after."""
    budget = f" {result.attack.budget}" if result.attack.budget else ""
    heading = (
        f"<b>{escape(result.outcome)}</b>: {escape(result.attack.name + budget)} on "
        f"{escape(result.model)}/{escape(result.version)}, {escape(result.defence)}"
    )
    flags = "".join(f"<li>{escape(flag.meaning)}</li>" for flag in result.flags)
    row = _row(
        _answer(result.before, "before"),
        _image(result.original.png, "original") if result.original else "",
        _image(result.adversarial.png, "adversarial"),
        _image(result.perturbation.png, f"perturbation x {result.perturbation.scale:.1f}"),
        _answer(result.after, "after"),
    )
    return f"<div>{heading}{row}{f'<ul>{flags}</ul>' if flags else ''}</div>"


def job_html(result: JobResult) -> str:
    """A table of the runs."""
    names = ("model", "defence", "attack", "images", "clean accuracy", "robust accuracy", "success rate")
    rows = [
        (
            f"{run.model}/{run.version}",
            run.defence,
            run.attack,
            str(run.images_done),
            str(run.clean_accuracy or ""),
            str(run.robust_accuracy or ""),
            "" if (rate := run.record.totals.success_rate) is None else f"{100 * rate:.1f} %",
        )
        for run in result.runs
    ]
    head = "".join(f"<th>{name}</th>" for name in names)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _row(*parts: str) -> str:
    return f'<div style="display:flex;gap:24px;align-items:flex-start">{"".join(parts)}</div>'


def _image(content: bytes, caption: str) -> str:
    kind = media_type(content)
    if not kind.startswith("image/") or len(content) > _MOST_BYTES:
        return ""
    source = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    style = "min-width:128px;max-width:256px;image-rendering:pixelated"
    return (
        f'<figure style="margin:0"><img alt="{escape(caption)}" style="{style}" src="{source}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _answer(answer: Answer, title: str) -> str:
    shown = sorted(answer.probabilities.items(), key=lambda item: -item[1])[:_BARS]
    bars = "".join(_bar(label, probability) for label, probability in shown)
    verdict = ""
    if answer.manifold:
        colour = _COLOURS.get(answer.manifold.verdict, "inherit")
        words = f"{answer.manifold.verdict} ({answer.manifold.score:.3f})"
        verdict = f'<div style="color:{colour}">{escape(words)}</div>'
    return f'<div style="min-width:220px"><div>{escape(title)}</div>{bars}{verdict}</div>'


def _bar(label: str, probability: float) -> str:
    width = max(0.0, min(100.0, 100 * probability))
    return (
        f"<div>{escape(label)} {100 * probability:.1f} %"
        f'<div style="height:6px;background:#9993"><div style="height:6px;width:{width:.1f}%;'
        'background:#3367d6"></div></div></div>'
    )
