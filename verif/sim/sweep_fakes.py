"""Measurements of no design at all, for sweeps: workers, whatever process they are in, import them from here."""

from __future__ import annotations

import functools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flexnm_gen.synth import prepare
from flexnm_gen.tops import module_name, settle
from flexnm_rtl.config import Config
from flexnm_rtl.presets import preset

GRID = {
    "patterns": "2:4,4:8,3:8",
    "tops": "compressor,mac_array",
    "selectors": "auto,rank,radix",
    "lanes": "2,N",
    "arrays": "1x2",
    "metadata": "bitmask",
    "targets": "asic",
}
"""Eleven points, one of which cannot be built: 3:8 with two lanes. At 2:4, two lanes are all lanes."""


@functools.cache
def _inputs(target: str, liberty: tuple[Path, ...], clock_ps: float) -> dict[str, Any]:
    return prepare("compressor", preset("n2m4"), target, liberty=liberty, clock_ps=clock_ps).inputs


def fake(top: str, cfg: Config, target: str, *, liberty: tuple[Path, ...], clock_ps: float) -> dict[str, Any]:
    """A record of standard cells: the area is 100 a channel and product, the clock rate 1000 MHz less 10 a channel."""
    work = cfg.m_group * (cfg.rows * cfg.cols * cfg.lanes if top == "mac_array" else 1)
    figures = {
        "area_um2": 100.0 * work,
        "sequential_area_um2": 10.0 * work,
        "cells": work,
        "memory_bits": 0,
        "min_period_ps": 1e6 / (1000 - 10 * cfg.m_group),
        "fmax_mhz": 1000.0 - 10 * cfg.m_group,
        "reason": None,
    }
    name = module_name(top, cfg)
    head = {"module": name, "top": top, "pattern": cfg.pattern, "config": settle(cfg).as_dict(), "seconds": 0.0}
    return head | _inputs(target, liberty, clock_ps) | {"figures": figures}


def counted(top: str, cfg: Config, target: str, *, calls: Path, pause: float = 0.0, **options: Any) -> dict[str, Any]:
    """``fake``, after a pause of some seconds; a file in ``calls`` tells of the call."""
    name = module_name(top, cfg)
    (calls / f"{name}.{time.monotonic_ns()}.{os.getpid()}").touch()
    time.sleep(pause)
    return fake(top, cfg, target, **options)


def broken(top: str, cfg: Config, target: str, *, calls: Path, **options: Any) -> dict[str, Any]:
    """``counted``, but 4:8 ends in an error of two lines."""
    record = counted(top, cfg, target, calls=calls, **options)
    if cfg.pattern == "4:8":
        raise RuntimeError("Yosys\nburnt down")
    return record


def elsewhere(top: str, cfg: Config, target: str, **options: Any) -> dict[str, Any]:
    """``fake`` by tools of another version."""
    record = fake(top, cfg, target, **options)
    return record | {"tools": {**record["tools"], "pyosys": "0.1"}}


def killed(top: str, cfg: Config, target: str, **options: Any) -> dict[str, Any]:
    """``fake``, but 4:8 is the end of its process."""
    if cfg.pattern == "4:8":
        os.kill(os.getpid(), signal.SIGKILL)
    return fake(top, cfg, target, **options)


def until(ready: Callable[[], bool]) -> None:
    """Wait, up to a minute."""
    for _ in range(600):
        if ready():
            return
        time.sleep(0.1)
    raise TimeoutError
