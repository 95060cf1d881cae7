"""How many files a process may have open: every connection is one."""

from __future__ import annotations

import sys
from contextlib import suppress


def allow_most_open_files() -> None:
    """Raise this process's limit of open files to the most that it may give itself.

    The usual limit of 1024 is far below the connections that the gateway takes, and whoever is beyond it is
    not refused in words but not answered at all. Where there is none, or it cannot be raised, it stays.
    """
    if sys.platform == "win32":
        return
    import resource

    with suppress(
        OSError, ValueError
    ):  # such as on macOS, which calls the most infinite and does not mean it
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
