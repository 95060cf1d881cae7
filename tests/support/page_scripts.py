"""The playground's own modules, called in a page that has them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.async_api import Page

#: Imports one of the modules by its name below ``js/``, wherever the files are kept.
_FROM = """
const main = document.querySelector('script[type="module"]').src;
const from = (name) => import(main.replace("main.js", name));
"""


async def imported(page: Page, script: str, given: Any = None) -> Any:
    """What a script comes to.

    Args:
        page: The playground.
        script: A function's body; ``await from("format.js")`` is a module, ``given`` what is given.
        given: What JSON can say.
    """
    return await page.evaluate(f"async (given) => {{ {_FROM} {script} }}", given)
