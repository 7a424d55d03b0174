"""Gates against RTL: the cocotb benches of a unit on the netlist that it became."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from flexnm_gen.asic import map_area
from flexnm_gen.cell_models import cell_models
from flexnm_gen.fpga import fpga_behaviour
from flexnm_gen.fpga_targets import FPGA_TARGETS
from flexnm_gen.synth import ASIC, Job
from flexnm_rtl.config import Config
from flexnm_rtl.presets import DEFAULT_PRESET, preset

from flexnm_tb.mutation.components import COMPONENTS, Component
from flexnm_tb.run import BenchError, Netlist, simulate

DESIGNS = {
    component.name: component
    for component in (
        COMPONENTS["compressor"],
        Component("decompressor", "decompressor", preset(DEFAULT_PRESET), ("flexnm_tb.benches.decompressor",), 0),
        Component(
            "flexible",
            "compressor",
            Config(n_keep=8, m_group=16, flexible=True, lanes=1),
            ("flexnm_tb.benches.compressor",),
            0,
        ),
        COMPONENTS["array"],
        COMPONENTS["engine"],
        # Memories of this size become block RAMs; with short stages, registers go into them and the multipliers.
        replace(
            COMPONENTS["engine"],
            name="edge",
            cfg=preset("n8m16-edge").replace(rows=2, cols=2, k_max=512, t_max=16),
        ),
    )
}
"""Units whose netlists are run, by name."""
TARGETS = (*(name for name, family in FPGA_TARGETS.items() if family.models), ASIC)
"""Targets whose cells have functions."""
_INSIDE = "flexnm_tb.benches.linear_counters"
"""Tests that look at signals inside the RTL, which a netlist does not have."""


@dataclass(frozen=True)
class Outcome:
    """A netlist's run. tests: cocotb tests that passed. seconds: of mapping and simulation. failure: empty if none."""

    design: str
    target: str
    tests: int
    seconds: float
    failure: str


def benches(component: Component) -> tuple[str, ...]:
    """The benches of a unit that need nothing but its ports."""
    return tuple(module for module in component.benches if module != _INSIDE)


def netlist(job: Job) -> Netlist:
    """The unit as gates: what its cells compute, in Verilog. Raises what ``map_area`` and ``fpga_behaviour`` raise."""
    if job.target != ASIC:
        return Netlist(job.target, fpga_behaviour(job.source, job.module, job.target, device=job.device))
    mapped = map_area(job.source, job.module, job.liberty, clock_ps=job.clock_ps)
    return Netlist(ASIC, mapped.behaviour + cell_models(mapped.kinds, job.liberty))


def run(component: Component, job: Job) -> Outcome:
    """Run a unit's benches on its netlist. Raises what ``netlist`` raises, and VerilatorError."""
    start = time.monotonic()
    tests, failure = 0, ""
    try:
        tests = simulate(
            component.top,
            job.cfg,
            ",".join(benches(component)),
            name=f"gates-{job.key}",
            wrapped=component.wrapped,
            netlist=netlist(job),
        ).tests
    except BenchError as error:
        failure = str(error)
    return Outcome(component.name, job.target, tests, time.monotonic() - start, failure)
