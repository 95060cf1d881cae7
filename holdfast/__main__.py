"""``python -m holdfast`` is ``holdfast``; launchers such as torchrun start it this way."""

from __future__ import annotations

from holdfast.cli import main

if __name__ == "__main__":
    main()
