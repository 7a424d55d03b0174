"""Components that are made to be asked something."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from amaranth.hdl import Elaboratable
from flexnm_rtl.config import Config


def silenced(unit: Any) -> Any:
    """A component that is only asked, never built: Amaranth would warn, of its parts too."""
    if isinstance(unit, Elaboratable):
        unit._MustUse__silence = True
        for part in vars(unit).values():
            silenced(part)
    return unit


@functools.cache
def latency_of(make: Callable[[Config], Any], cfg: Config) -> int:
    """``latency`` of what ``make`` returns for a configuration."""
    return int(silenced(make(cfg)).latency)
