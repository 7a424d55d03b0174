"""A module around a unit for place and route: three pins, and every path of the unit begins and ends in a flip-flop.

Units have far more port bits than a package has pins. In the harness a shift register drives the inputs, one flip-flop
an input bit; every output bit goes into a flip-flop, and these fold into a second shift register by exclusive-or. No
logic of the harness lies between the unit and a flip-flop, and none of its outputs is unused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HARNESS = "flexnm_harness"
CLOCK = "clk"


@dataclass(frozen=True)
class Port:
    """A port of a unit: ``width`` bits."""

    name: str
    width: int
    is_input: bool


def harness(unit: str, ports: Sequence[Port]) -> str:
    """Verilog of module ``flexnm_harness``: pins ``clk``, ``shift_in``, ``shift_out``; the unit is instance ``unit``.

    Flip-flops: one for each input bit but the clock, two for each output bit; LUTs: one for each output bit but one.
    """
    inputs = sum(port.width for port in ports if port.is_input and port.name != CLOCK)
    outputs = sum(port.width for port in ports if not port.is_input)
    at = {True: 0, False: 0}
    pins = []
    for port in ports:
        if port.name == CLOCK:
            pins.append(f".{CLOCK}({CLOCK})")
            continue
        low = at[port.is_input]
        at[port.is_input] += port.width
        pins.append(f".{port.name}({'drive' if port.is_input else 'result'}[{low + port.width - 1}:{low}])")
    return (
        f"module {HARNESS}(input {CLOCK}, input shift_in, output shift_out);\n"
        f"  reg [{inputs - 1}:0] drive;\n"
        f"  wire [{outputs - 1}:0] result;\n"
        f"  reg [{outputs - 1}:0] taken, folded;\n"
        f"  always @(posedge {CLOCK}) begin\n"
        "    drive <= {drive, shift_in};\n"
        "    taken <= result;\n"
        "    folded <= {folded, 1'b0} ^ taken;\n"
        "  end\n"
        f"  assign shift_out = folded[{outputs - 1}];\n"
        f"  {unit} unit ({', '.join(pins)});\n"
        "endmodule\n"
    )
