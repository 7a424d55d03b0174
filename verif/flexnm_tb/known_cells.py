"""A Liberty library in which every delay, energy and leakage is one number: what tools make of it can be worked out.

Times in ps, capacitances in fF, leakage in nW, 1 V. Every gate takes ``GATE_PS``, whatever it drives.
"""

from __future__ import annotations

GATE_PS = 10.0
LAUNCH_PS = 30.0
SETUP_PS = 5.0
RISE_FJ = 2.0
FALL_FJ = 4.0
CLOCK_FJ = 8.0
"""Energy of a flip-flop's clock pin in a cycle: of both edges."""
LEAKAGE_NW = 20.0
"""Mean of the two states of a gate, and of a flip-flop."""
PIN_FF = 1.0

HEAD = """library (known) {
  delay_model : table_lookup; time_unit : "1ps"; voltage_unit : "1V"; leakage_power_unit : "1nW";
  capacitive_load_unit (1, ff); nom_process : 1; nom_temperature : 25; nom_voltage : 1;
  operating_conditions (usual) { process : 1; temperature : 25; voltage : 1; }
  default_operating_conditions : usual;
  input_threshold_pct_rise : 50; output_threshold_pct_rise : 50; slew_lower_threshold_pct_rise : 20;
  input_threshold_pct_fall : 50; output_threshold_pct_fall : 50; slew_lower_threshold_pct_fall : 20;
  slew_upper_threshold_pct_rise : 80; slew_upper_threshold_pct_fall : 80;
  lu_table_template (t2) {
    variable_1 : input_net_transition; variable_2 : total_output_net_capacitance;
    index_1 ("1, 100"); index_2 ("1, 100");
  }
  power_lut_template (p1) { variable_1 : input_transition_time; index_1 ("1, 100"); }
  power_lut_template (p2) {
    variable_1 : input_transition_time; variable_2 : total_output_net_capacitance;
    index_1 ("1, 100"); index_2 ("1, 100");
  }
"""


def _table(kind: str, template: str, number: float) -> str:
    row = f'"{number}, {number}"'
    return f"{kind} ({template}) {{ values ({row if template == 'p1' else f'{row}, {row}'}); }} "


def _arcs(delay: float) -> str:
    delays = "".join(_table(kind, "t2", delay) for kind in ("cell_rise", "cell_fall"))
    return delays + "".join(_table(kind, "t2", 5.0) for kind in ("rise_transition", "fall_transition"))


def _input(name: str, inside: str = "") -> str:
    return f"pin ({name}) {{ direction : input; capacitance : {PIN_FF}; {inside}}} "


def _leakage() -> str:
    return 'leakage_power () { value : 10; when : "A"; } leakage_power () { value : 30; when : "!A"; } '


def gate(name: str, area: float, inputs: str, function: str) -> str:
    """A combinational cell with output Y."""
    arcs = "".join(f'timing () {{ related_pin : "{pin}"; timing_sense : negative_unate; {_arcs(GATE_PS)}}} '
                   for pin in inputs)  # fmt: skip
    energy = _table("rise_power", "p2", RISE_FJ) + _table("fall_power", "p2", FALL_FJ)
    powers = "".join(f'internal_power () {{ related_pin : "{pin}"; {energy}}} ' for pin in inputs)
    output = f'pin (Y) {{ direction : output; max_capacitance : 100; function : "{function}"; {arcs}{powers}}}'
    return f"cell ({name}) {{ area : {area}; {_leakage()}{''.join(map(_input, inputs))}{output} }}\n"


def flop(name: str = "DFF", area: float = 10, state: str = "D") -> str:
    """A flip-flop with clock C, data D and output Q."""
    edges = "".join(f'{edge}_constraint (scalar) {{ values ("{SETUP_PS}"); }} ' for edge in ("rise", "fall"))
    setup = f'timing () {{ related_pin : "C"; timing_type : setup_rising; {edges}}} '
    energy = _table("rise_power", "p1", CLOCK_FJ / 2) + _table("fall_power", "p1", CLOCK_FJ / 2)
    launch = f'timing () {{ related_pin : "C"; timing_type : rising_edge; {_arcs(LAUNCH_PS)}}} '
    return (
        f"cell ({name}) {{ area : {area}; cell_leakage_power : {LEAKAGE_NW}; "
        f'ff (IQ, IQN) {{ clocked_on : "C"; next_state : "{state}"; }} '
        f"{_input('C', f'clock : true; internal_power () {{ {energy}}} ')}{_input('D', setup)}"
        f'pin (Q) {{ direction : output; function : "IQ"; {launch}}} }}\n'
    )


GATES = (
    gate("INV", 1, "A", "!A")
    + gate("INV2", 1.5, "A", "!A")
    + gate("BUF", 2, "A", "A")
    + gate("NAND", 3, "AB", "!(A&B)")
)
LIBRARY = f"{HEAD}{GATES}{flop()}}}\n"
