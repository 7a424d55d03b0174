"""A mapped netlist beside its RTL on the same stimuli: every pin's activity, and a check of the netlist.

The RTL decides when words of the input streams are taken; the netlist must answer as it does in every cycle. Both run
without delays, so glitches do not count. Built with Verilator.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amaranth.lib import wiring
from flexnm_gen.asic import Mapped
from flexnm_gen.cell_models import cell_models
from flexnm_gen.manifest import ports_of, streams_of
from flexnm_gen.netlist import to_verilog
from flexnm_gen.power import Activity
from flexnm_rtl.config import ConfigError

from flexnm_tb.gate_bench import bench_text
from flexnm_tb.gate_pins import CONSTANTS, pin_nets
from flexnm_tb.verilator import VerilatorError, default_cache, verilator_env

MAIN = Path(__file__).with_name("gate_main.cpp")
VERILATE = ["--cc", "--exe", "--build", "-j", "2", "--prefix", "Vbench", "--top-module", "bench", "--trace-saif"]
VERILATE += ["-Wno-fatal", "-Wno-lint", "--x-assign", "fast", "--x-initial", "fast"]
VERILATE += ["-MAKEFLAGS", "OPT_FAST=-O0 OPT_GLOBAL=-O0"]  # compiling takes a minute, running a second
UNTRACED = '`verilator_config\ntracing_off -file "rtl.v"\ntracing_off -file "cells.v"\n'


class GateMismatch(AssertionError):  # noqa: N818
    """The netlist did not answer as the RTL did."""


@dataclass(frozen=True)
class GateRun:
    """``cycles`` that were measured, from the first word offered to the last one taken; ``words`` that left by stream;
    ``activity`` of every pin and port of the netlist by path, ``part/instance/pin``.
    """

    cycles: int
    words: Mapping[str, int]
    activity: Mapping[str, Activity]


def simulate_gates(
    component: wiring.Component, mapped: Mapped, liberty: Sequence[Path], words: Mapping[str, Sequence[int]]
) -> GateRun:
    """Run ``words``, by input stream, through ``component`` and what it was mapped to; every output is always ready.

    component: not elaborated before; all its ports are streams. Raises GateMismatch for a netlist that computes
    something else, ConfigError for ports that are no streams or cells without a function, VerilatorError.
    """
    ports = {port["name"]: port["width"] for port in ports_of(component)}
    ways = streams_of(component)
    odd = sorted(name for name in ports.keys() - {"clk", "rst"} if name.rpartition("__")[0] not in ways)
    if odd:
        raise ConfigError(f"{mapped.top} cannot be simulated as gates: {odd[0]} is no stream")
    cells = mapped.kinds
    texts = {
        "rtl.v": to_verilog(component, f"{mapped.top}_rtl"),
        "gates.v": mapped.behaviour,
        "cells.v": cell_models(cells, liberty),
        "bench.v": bench_text(mapped.top, ways, ports, {name: len(queue) for name, queue in words.items()}),
        "bench.vlt": UNTRACED,
        **{f"{name}.hex": "\n".join(f"{word:x}" for word in queue) for name, queue in words.items()},
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts.items():
            Path(folder, name).write_text(text, encoding="utf-8")
        report = _built_and_run(Path(folder), mapped.top)
        counts = {name: int(count) for name, count in re.findall(r"^(\w+) = +(\d+)$", report, re.MULTILINE)}
        if counts.pop("mismatches"):
            first = re.search(r"^mismatch.*", report, re.MULTILINE)
            raise GateMismatch(f"{mapped.top}: the netlist differs from the RTL: {first[0] if first else ''}")
        with Path(folder, "activity.saif").open(encoding="utf-8") as file:
            nets = dict(_activities(file))
    inputs = {path: found for path, found in nets.items() if "/" not in path}
    nets |= {constant: Activity(0.0, duty) for constant, duty in zip(CONSTANTS, (0.0, 1.0), strict=True)}
    pins = {pin: nets[net] for pin, net in pin_nets(mapped.behaviour, mapped.top, cells)}
    return GateRun(counts.pop("cycles"), counts, inputs | pins)


def _built_and_run(folder: Path, name: str) -> str:
    env = {**os.environ, **verilator_env(default_cache())}
    sources = ["bench.vlt", "bench.v", "rtl.v", "gates.v", "cells.v", str(MAIN)]
    for command in (["verilator", *VERILATE, *sources], ["obj_dir/Vbench"]):
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            words = " / ".join((done.stdout + done.stderr).strip().splitlines()[-3:])
            raise VerilatorError(f"the gate simulation of {name} failed ({command[0]}: {words})")
    return done.stdout


def _activities(lines: Iterator[str]) -> Iterator[tuple[str, Activity]]:
    """Nets below ``bench.gates``, from SAIF: cycles at 0 and at 1, and toggles.

    A net that begins at 1 has one toggle more, from the 0 that SAIF begins with.
    """
    scopes: list[str] = []
    depth: list[int] = []
    level = 0
    for line in lines:
        scope = re.search(r"\(INSTANCE (\S+)", line)
        if scope:
            scopes.append(scope[1])
            depth.append(level)
        level += line.count("(") - line.count(")")
        found = re.match(r"\s*\((\S+) \(T0 (\d+)\) \(T1 (\d+)\).*\(TC (\d+)\)", line)
        if found and "gates" in scopes:
            zero, one, toggles = (int(number) for number in found.groups()[1:])
            inside = scopes[scopes.index("gates") + 1 :]
            total = max(zero + one, 1)
            yield "/".join([*inside, found[1].replace("\\", "")]), Activity(toggles / total, one / total)
        while depth and level <= depth[-1]:
            depth.pop()
            scopes.pop()
