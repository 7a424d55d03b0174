"""Power of a mapped design at given activities of its pins, by OpenSTA.

Without wires, clock tree and memories: their loads and their own power are not in it. Switching is that of the cells'
outputs, at the loads of the pins they drive. Inputs come as ``flexnm_gen.timing`` says, which sets their slopes.

OpenSTA 2.0.17 is corrected in two points. It adds the internal energies of a rising and a falling edge for each edge:
``_internal_scale`` measures that on a cell of known energy, so another version needs no other code. It also adds up
leakages that belong to different states: cells get their mean leakage instead.
"""

from __future__ import annotations

import functools
import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from flexnm_gen.asic import Mapped
from flexnm_gen.liberty import read_liberty
from flexnm_gen.sta import run_sta
from flexnm_gen.timing import CLOCK, constraints

_LEAKAGE = re.compile(r"\bleakage_power\s*\(\s*\w*\s*\)\s*{([^{}]*)}")
_TOTAL = re.compile(r"^Total((?:\s+[-+\d.e]+){3})", re.MULTILINE)
_KNOWN = """library (known) {
  delay_model : table_lookup; time_unit : "1ps"; voltage_unit : "1V"; capacitive_load_unit (1, ff);
  nom_process : 1; nom_temperature : 25; nom_voltage : 1;
  operating_conditions (usual) { process : 1; temperature : 25; voltage : 1; }
  default_operating_conditions : usual;
  input_threshold_pct_rise : 50; output_threshold_pct_rise : 50; slew_lower_threshold_pct_rise : 20;
  input_threshold_pct_fall : 50; output_threshold_pct_fall : 50; slew_lower_threshold_pct_fall : 20;
  slew_upper_threshold_pct_rise : 80; slew_upper_threshold_pct_fall : 80;
  power_lut_template (energy) {
    variable_1 : input_transition_time; variable_2 : total_output_net_capacitance;
    index_1 ("1, 9"); index_2 ("1, 9");
  }
  cell (INV) {
    pin (A) { direction : input; capacitance : 0; }
    pin (Y) { direction : output; function : "!A";
      timing () { related_pin : "A"; timing_sense : negative_unate;
        cell_rise (scalar) { values ("1"); } cell_fall (scalar) { values ("1"); }
        rise_transition (scalar) { values ("1"); } fall_transition (scalar) { values ("1"); } }
      internal_power () { related_pin : "A";
        rise_power (energy) { values ("1, 1", "1, 1"); } fall_power (energy) { values ("1, 1", "1, 1"); } } } }
}
"""


@dataclass(frozen=True)
class Activity:
    """Of a net: toggles a cycle, and the part of the time during which it is 1."""

    toggles: float
    duty: float


@dataclass(frozen=True)
class Power:
    """In watts. ``internal``: inside cells, clock pins included; ``switching``: of the nets that cells drive."""

    internal: float
    switching: float
    leakage: float

    @property
    def total(self) -> float:
        """Their sum."""
        return self.internal + self.switching + self.leakage


def design_power(
    mapped: Mapped, liberty: Sequence[Path], period_ps: float, activity: Mapping[str, Activity] | None
) -> Power:
    """Power of ``mapped`` at a clock period, with the ``liberty`` it was mapped onto.

    activity: of every port, ``name`` or ``name[bit]``, and every pin of a cell, ``part/instance/pin``; the clock's own
    is not looked at. None: nothing toggles but the clock. Raises ConfigError for a missing ``sta`` or a library that
    it does not understand, RuntimeError for a pin that is not there.
    """
    library = read_liberty(liberty)
    script = constraints(mapped.top, library, period_ps, 0.0, 0.0)
    if activity is None:
        script += "set_power_activity -global -activity 0\n"
    else:
        script += "\n".join(_set(path, given) for path, given in activity.items()) + "\n"
    report = run_sta(script + "report_power -digits 8\n", liberty, {"netlist.v": mapped.netlist}, _with_mean_leakage)
    internal, switching, leakage = _totals(report)
    return Power(internal / _internal_scale(str(shutil.which("sta"))), switching, leakage)


def _set(path: str, given: Activity) -> str:
    if path == CLOCK or path.startswith(f"{CLOCK}["):
        return ""
    value = f"{given.toggles:.6g} {given.duty:.6g}"
    if "/" in path:
        return f"sta::set_power_pin_activity [get_pins {{{path}}}] {value}"
    return f"foreach p [get_ports -quiet {{{path}}}] {{ sta::set_power_input_port_activity $p {value} }}"


def _totals(report: str) -> list[float]:
    found = _TOTAL.search(report)
    if found is None:
        raise RuntimeError("sta reported no power")
    return [float(number) for number in found[1].split()]


@functools.cache
def _internal_scale(_program: str) -> float:
    """What ``sta`` makes of an internal energy of 1 fJ an edge, at an edge every 1000 ps, over the 1 uW that it is."""
    script = f"""read_verilog netlist.v
link_design top
create_clock -name {CLOCK} -period 1000
set_input_delay 0 -clock {CLOCK} [all_inputs]
sta::set_power_input_port_activity [get_ports a] 1 0.5
sta::set_power_pin_activity [get_pins g/A] 1 0.5
sta::set_power_pin_activity [get_pins g/Y] 1 0.5
report_power -digits 8
"""
    with tempfile.TemporaryDirectory() as folder:
        cell = Path(folder, "known.lib")
        cell.write_text(_KNOWN, encoding="utf-8")
        netlist = "module top(input a, output y); INV g (.A(a), .Y(y)); endmodule"
        return _totals(run_sta(script, [cell], {"netlist.v": netlist}))[0] / 1e-6


def _with_mean_leakage(text: str) -> str:
    """A Liberty file in which no leakage depends on a state: the cell's own figure, or the mean of the states."""
    heads = [found.start() for found in re.finditer(r"\bcell\s*\(", text)]
    cells = [_mean_leakage(text[a:b]) for a, b in zip(heads, [*heads[1:], len(text)], strict=True)]
    return "".join([text[: heads[0]] if heads else text, *cells])


def _mean_leakage(cell: str) -> str:
    groups = [found[1] for found in _LEAKAGE.finditer(cell)]
    if not any("when" in group for group in groups):
        return cell
    whole = _LEAKAGE.sub(lambda found: "" if "when" in found[1] else found[0], cell)
    if re.search(r"\bcell_leakage_power\s*:", cell) or not all("when" in group for group in groups):
        return whole
    states: dict[str, list[float]] = defaultdict(list)
    for group in groups:
        rail = re.search(r"related_pg_pin\s*:\s*\"?(\w+)", group)
        value = re.search(r"\bvalue\s*:\s*\"?([-+\d.eE]+)", group)
        states[rail[1] if rail else ""].append(float(value[1]) if value else 0.0)
    mean = sum(sum(values) / len(values) for values in states.values())
    return whole.replace("{", f"{{ cell_leakage_power : {mean:g};", 1)
