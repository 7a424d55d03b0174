"""Components that are made to be asked something."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Elaboratable


def silenced(unit: Any) -> Any:
    """A component that is only asked, never built: Amaranth would warn, of its parts too."""
    if isinstance(unit, Elaboratable):
        unit._MustUse__silence = True
        for part in vars(unit).values():
            silenced(part)
    return unit
