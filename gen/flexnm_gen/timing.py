"""Minimum clock period of a mapped design, by static timing analysis.

The clock is ideal: no skew, no jitter. Wires have no length. A design stands between registers: every input comes from
a flip-flop of the library and the inverter that ABC took to drive it, every output goes to a flip-flop and carries the
load that ABC put there. What that flip-flop costs is measured on two of them in a row, mapped like any design.
Memories are boxes without timing: paths into and out of them do not count.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flexnm_gen.asic import LOADS, Mapped, map_area
from flexnm_gen.liberty import Library, read_liberty
from flexnm_gen.sta import run_sta

CLOCK = "clk"
_PERIOD_PS = 1000.0  # of the analysis; what is reported does not depend on it
_REGISTERS = "module two(input clk, input d, output reg q); reg p; always @(posedge clk) {p, q} <= {d, p}; endmodule"
_FROM = {"register": "[all_registers -clock_pins]", "input": "$inputs"}
_TO = {"register": "[all_registers -data_pins]", "output": "[all_outputs]"}
_CHECK = "set a {a}\nset b {b}\nputs {{@ {name}}}\nif {{[llength $a] && [llength $b]}} {{ {report} -from $a -to $b }}\n"


@dataclass(frozen=True)
class TimedPath:
    """The slowest path of a kind: the period that it needs, from and to which instance or port."""

    period_ps: float
    startpoint: str
    endpoint: str


@dataclass(frozen=True)
class Timing:
    """``paths``: the slowest from ``register`` or ``input`` to ``register`` or ``output``, by such a pair; a kind that
    the design does not have is missing. ``launch_ps`` and ``setup_ps``: clock to output and set-up of the flip-flops
    around the design.
    """

    paths: Mapping[tuple[str, str], TimedPath]
    launch_ps: float
    setup_ps: float

    @property
    def worst(self) -> TimedPath:
        """The path that sets the period."""
        return max(self.paths.values(), key=lambda path: path.period_ps)

    @property
    def period_ps(self) -> float:
        """Minimum period, inputs and outputs included."""
        return self.worst.period_ps


def minimum_period(mapped: Mapped, liberty: Sequence[Path]) -> Timing:
    """Time a design that was mapped onto the same ``liberty``.

    Raises ConfigError where ``sta`` is missing or does not understand the library, ValueError for a design without any
    path between registers, inputs and outputs.
    """
    launch, setup = _flip_flop(tuple(liberty), tuple(path.stat().st_mtime_ns for path in liberty))
    paths = _paths(mapped, liberty, launch, setup)
    if not paths:
        raise ValueError(f"{mapped.top} has no path to time")
    return Timing({pair: path for pair, (path, _) in paths.items()}, launch, setup)


@functools.lru_cache(maxsize=16)
def _flip_flop(liberty: tuple[Path, ...], _times: tuple[int, ...]) -> tuple[float, float]:
    """Clock to output, with an inverter where the library's flip-flop inverts, and set-up: of one that drives one."""
    path, setup = _paths(map_area(_REGISTERS, "two", liberty), liberty, 0.0, 0.0)["register", "register"]
    return path.period_ps - setup, setup


def _paths(
    mapped: Mapped, liberty: Sequence[Path], launch: float, setup: float
) -> dict[tuple[str, str], tuple[TimedPath, float]]:
    """The slowest path of each kind, and the set-up time at its end."""
    library = read_liberty(liberty)
    report = "report_checks -path_delay max -format full_clock -digits 4"
    pairs = [(a, b) for a in _FROM for b in _TO]
    checks = "".join(_CHECK.format(a=_FROM[a], b=_TO[b], name=f"{a} {b}", report=report) for a, b in pairs)
    script = constraints(mapped.top, library, _PERIOD_PS, launch, setup) + checks
    found = {}
    for part in run_sta(script, liberty, {"netlist.v": mapped.netlist}).split("@ ")[1:]:
        pair = part.splitlines()[0].split()
        slack = re.search(r"(\S+)\s+slack \(", part)
        if slack is None:
            continue
        first, last = (re.search(rf"^{name}point: (\S+)", part, re.MULTILINE) for name in ("Start", "End"))
        assert first is not None
        assert last is not None
        at_end = re.search(r"(\S+)\s+\S+\s+library setup time", part)
        path = TimedPath(_PERIOD_PS - float(slack[1]), first[1], last[1])
        found[pair[0], pair[1]] = path, -float(at_end[1]) if at_end else setup
    return found


def constraints(top: str, library: Library, period_ps: float, launch_ps: float, setup_ps: float) -> str:
    """Tcl that reads ``netlist.v`` and says what is around it; ``$inputs`` are its inputs but the clock."""
    load = LOADS * library.driver.load * library.load_ff
    return f"""read_verilog netlist.v
link_design {top}
set inputs {{}}
set clocks {{}}
foreach port [all_inputs] {{ lappend [expr {{[get_name $port] == "{CLOCK}" ? "clocks" : "inputs"}}] $port }}
eval create_clock -name {CLOCK} -period {period_ps:g} $clocks
set_driving_cell -lib_cell {library.driver.name} $inputs
set_input_delay {launch_ps:g} -clock {CLOCK} $inputs
set_load {load:g} [all_outputs]
set_output_delay {setup_ps:g} -clock {CLOCK} [all_outputs]
"""
