"""Which scripts a page needs.

A browser that is told of them at once fetches them together, and not each when it has read the one before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from posixpath import dirname, join, normpath

#: ``import … from "./x.js"``, ``export … from "./x.js"`` and ``import "./x.js"``, at the beginning of a line.
#: One that is imported later, by ``import("./x.js")``, is fetched when that is so.
_IMPORT = re.compile(r"""^\s*(?:import|export)\b(?:[^"'();]*?\bfrom)?\s*["'](\.[^"']+)["']""", re.MULTILINE)


def imports(name: str, content: bytes) -> list[str]:
    """The names of the scripts that one imports at once."""
    paths = _IMPORT.findall(content.decode("utf-8"))
    return [normpath(join(dirname(name), path)) for path in paths]


def needed(files: Mapping[str, bytes], first: str) -> list[str]:
    """The scripts that one imports, and those that they import, in the order in which they are come upon.

    Args:
        files: All files by their names, e.g. ``js/main.js``; what is not among them is passed over.
        first: The name of the script that comes first, which is in the answer too.
    """
    found = [first]
    for name in found:
        found += [
            other
            for other in dict.fromkeys(imports(name, files[name]))
            if other in files and other not in found
        ]
    return found
