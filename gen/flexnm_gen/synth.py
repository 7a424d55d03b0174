"""What a unit costs in an FPGA or in a standard-cell library, as a record that JSON can hold."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from flexnm_rtl.config import Config, ConfigError

from flexnm_gen.asic import Mapped
from flexnm_gen.asic_best import Effort, map_best
from flexnm_gen.fpga import FpgaCost, map_fpga
from flexnm_gen.fpga_targets import FPGA_TARGETS, FpgaTarget
from flexnm_gen.generate import render
from flexnm_gen.liberty import read_liberty
from flexnm_gen.timing import minimum_period
from flexnm_gen.tops import find_top, settle

ASIC = "asic"
TARGETS = (*FPGA_TARGETS, ASIC)
CLOCK_PS = 5000.0
"""Period that is aimed at where none is asked for: 200 MHz."""
DEFAULT_LIBRARY = "qflow/tech/osu018/osu018_stdcells.lib"
"""The library taken where none is named, below a folder of ``XDG_DATA_DIRS``: 180 nm, Debian's qflow-tech-osu018."""

Extra = Callable[["Job", Mapped, dict[str, Any]], dict[str, Any]]
"""Adds to the figures that are there of a mapped ASIC design, power for example."""


@dataclass(frozen=True)
class Job:
    """A unit to be measured: ``source`` is its Verilog, ``liberty`` the files of a library (asic only).

    ``device``: of the FPGA, None for the default. ``seed``: of the placement. ``route``: place and route if possible.
    ``effort``: recipes that are tried (asic only).
    """

    top: str
    cfg: Config
    target: str
    module: str
    source: str
    liberty: tuple[Path, ...]
    default_liberty: bool
    clock_ps: float
    device: str | None
    seed: int
    route: bool
    effort: Effort

    @functools.cached_property
    def inputs(self) -> dict[str, Any]:
        """Everything that the figures depend on: settings, digests of sources, versions of tools."""
        return {
            "target": self.target,
            "clock_mhz": round(1e6 / self.clock_ps, 6),
            "device": self.device,
            "seed": self.seed,
            "route": self.route,
            "effort": self.effort.value,
            "source_sha256": _sha256(self.source.encode()),
            "liberty": [{"file": path.name, "sha256": _sha256(path.read_bytes())} for path in self.liberty],
            "tools": _tools(self.target),
        }

    @property
    def key(self) -> str:
        """Digest of ``inputs`` and of the code that measures: equal keys, equal figures."""
        kinds = ("asic*", "full_adder", "liberty", "sta", "timing") if self.target == ASIC else ("fpga*",)
        code = [path.read_bytes() for kind in ("synth", *kinds) for path in sorted(_HERE.glob(f"{kind}.*"))]
        return _sha256(json.dumps(self.inputs, sort_keys=True).encode() + b"".join(code))[:20]


_HERE = Path(__file__).parent


def prepare(
    top: str,
    cfg: Config,
    target: str,
    *,
    liberty: Sequence[Path] = (),
    clock_ps: float | None = None,
    device: str | None = None,
    seed: int = 1,
    route: bool = True,
    effort: Effort = Effort.FAST,
    step: Callable[[str], object] = str,
) -> Job:
    """Check what is asked for, then generate the Verilog; ``step`` is told so. Raises ConfigError."""
    find_top(top)
    if target not in TARGETS:
        raise ConfigError(f"TARGET={target} is unknown: choose one of {', '.join(TARGETS)}")
    if clock_ps is not None and not 10 <= clock_ps <= 1e9:
        raise ConfigError(f"CLOCK={1e6 / clock_ps if clock_ps else clock_ps:g} is out of range: 0.001 to 100000 MHz")
    if not 0 <= seed < 2**31:
        raise ConfigError(f"SEED={seed} is out of range: 0 to {2**31 - 1}")
    files: tuple[Path, ...] = ()
    if target == ASIC:
        if device is not None:
            raise ConfigError("DEVICE is for FPGA targets: leave it out, and name a library with LIBERTY")
        files = tuple(liberty) or (_default_library(),)
        read_liberty(files)
    else:
        _check_fpga(target, liberty, device, route)
    step(f"Amaranth writes {top}")
    module, contents = render(top, cfg)
    source = contents[f"{module}.v"]
    period = clock_ps or CLOCK_PS
    return Job(top, settle(cfg), target, module, source, files, not liberty, period, device, seed, route, effort)


def measure(top: str, cfg: Config, target: str, **options: Any) -> dict[str, Any]:
    """The record of a unit on one of ``TARGETS``; ``options`` are those of ``prepare``. Raises ConfigError."""
    return run(prepare(top, cfg, target, **options))


def run(job: Job, *, extra: Extra | None = None, step: Callable[[str], object] = str) -> dict[str, Any]:
    """Measure; the record's keys are in docs/synth.md. ``extra`` adds to the figures of asic.

    ``step`` is told what begins. Raises ConfigError for a library that cannot carry the design.
    """
    begun = time.monotonic()
    figures = _asic(job, extra, step) if job.target == ASIC else _fpga(job, step)
    head = {"module": job.module, "top": job.top, "pattern": job.cfg.pattern, "config": job.cfg.as_dict()}
    return {
        **head,
        **job.inputs,
        "default_liberty": job.target == ASIC and job.default_liberty,
        "figures": figures,
        "seconds": round(time.monotonic() - begun, 1),
        "key": job.key,
    }


def _fpga(job: Job, step: Callable[[str], object]) -> dict[str, Any]:
    family = FPGA_TARGETS[job.target]
    cost: FpgaCost = map_fpga(
        job.source,
        job.module,
        job.target,
        device=job.device,
        seed=job.seed,
        freq_mhz=1e6 / job.clock_ps,
        route=job.route,
        step=step,
    )
    figures = asdict(cost) | {"family": family.summary, "block_ram_is": family.blocks, "fmax_mhz": cost.fmax_mhz}
    if cost.routed is not None:
        figures["routed"]["used_fraction"] = cost.routed.used_fraction
    return figures


def _asic(job: Job, extra: Extra | None, step: Callable[[str], object]) -> dict[str, Any]:
    """Areas in um2, times in ps."""
    step(f"Yosys maps {job.module}")
    mapped = map_best(job.source, job.module, job.liberty, clock_ps=job.clock_ps, effort=job.effort)
    step(f"OpenSTA times {job.module}")
    figures: dict[str, Any] = {
        "area_um2": mapped.area,
        "sequential_area_um2": mapped.sequential_area,
        "sequential_share": mapped.sequential_area / mapped.area if mapped.area else 0.0,
        "recipe": mapped.recipe,
        "cells": mapped.cells,
        "memory_bits": mapped.memory_bits,
        "min_period_ps": None,
        "fmax_mhz": None,
        "critical_path": None,
        "reason": None,
        "power": None,
    }
    try:
        timing = minimum_period(mapped, job.liberty)
        figures["min_period_ps"] = timing.period_ps
        figures["fmax_mhz"] = round(1e6 / timing.period_ps, 2)
        figures["critical_path"] = {"start": timing.worst.startpoint, "end": timing.worst.endpoint}
    except (ConfigError, ValueError) as error:
        figures["reason"] = str(error)
    if extra is None:
        return figures
    step(f"power of {job.module}")
    return figures | extra(job, mapped, figures)


def _check_fpga(target: str, liberty: Sequence[Path], device: str | None, route: bool) -> None:
    family = FPGA_TARGETS[target]
    if liberty:
        raise ConfigError(f"LIBERTY is for TARGET={ASIC}: leave it out for an FPGA")
    if device is not None:
        family.device(device)
    if route and family.package and not _installed(family):
        raise ConfigError(f"TARGET={target} needs the Python package {family.package}: install flexnm[synth]")


def _default_library() -> Path:
    """Raises ConfigError where it is not installed."""
    folders = (os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":")
    for path in (Path(folder, DEFAULT_LIBRARY) for folder in folders if folder):
        if path.is_file():
            return path
    raise ConfigError("no Liberty file: give LIBERTY, or install Debian's qflow-tech-osu018 (180 nm)")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _tools(target: str) -> dict[str, str]:
    """Versions of what takes part."""
    names = ["flexnm", "amaranth", "pyosys"]
    if target != ASIC:
        package = FPGA_TARGETS[target].package
        names += [package] if package and _installed(FPGA_TARGETS[target]) else []
    tools = {name: version(name) for name in names}
    if target == ASIC and shutil.which("sta"):
        found = subprocess.run(["sta", "-version"], capture_output=True, text=True, check=False)
        tools["sta"] = found.stdout.strip()
    return tools


def _installed(family: FpgaTarget) -> bool:
    return importlib.util.find_spec(family.module) is not None
