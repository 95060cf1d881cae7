"""What schemathesis cannot know of the gateway: what an image is, and which models there are."""

from __future__ import annotations

import json
from typing import Any

import schemathesis
from hypothesis import strategies as st
from support.odd_images import rare
from support.tiny import solid_png

_IMAGES = {
    form: [data for name, data in sorted(rare().items()) if name.startswith(form) and len(data) < 5_000]
    for form in ("png", "jpeg", "webp")
}
for _form, _images in _IMAGES.items():
    schemathesis.openapi.media_type(f"image/{_form}", st.sampled_from(_images))

#: What most requests name, so that they come further than "there is no such model".
_KNOWN = {"model": "tiny", "version": "1", "name": "pgd"}


@schemathesis.hook
def map_path_parameters(context: Any, path_parameters: dict[str, Any] | None) -> dict[str, Any] | None:
    """Name what there is, three times out of four."""
    del context
    if not path_parameters:
        return path_parameters
    return {
        name: _KNOWN[name] if name in _KNOWN and hash(json.dumps(value, default=str)) % 4 else value
        for name, value in path_parameters.items()
    }


@schemathesis.hook
def before_add_examples(context: Any, examples: list[Any]) -> None:
    """An image is what an example of one must be."""
    del context
    for example in examples:
        if str(example.media_type).startswith("image/"):
            example.body = solid_png("red")


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Watch every second attack: nobody makes up that the answer may come in events."""
    del context, kwargs
    global _attacks
    if case.operation.path.endswith("/attack") and "Accept" not in case.headers:
        _attacks += 1
        if _attacks % 2:
            case.headers["Accept"] = "text/event-stream"


_attacks = 0
