"""Files that bring an engine into other people's flows: FuseSoC, constraints, instantiation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flexnm_gen.axi_wrapper import Port, wrapper_name, wrapper_ports

PERIOD_NS = 10.0
"""Clock period in the templates: a start, not a promise; every flow and device has its own."""

_TITLES = {
    "linear": "Linear layers with {} activation sparsity, AXI4-Stream and AXI4-Lite",
    "decode": "Linear layers of a few tokens with {} activation sparsity, AXI4, AXI4-Stream and AXI4-Lite",
}
"""What an engine is, with its pattern, by the name of the unit."""


def core_file(manifest: dict[str, Any]) -> str:
    """FuseSoC core (CAPI2) of wrapper and unit, with a target ``lint`` for Verilator."""
    name, unit, top = manifest["name"], manifest["top"], wrapper_name(manifest)
    return f"""CAPI=2:
# SPDX-License-Identifier: Apache-2.0
name: "flexnm:{unit}:{name}:{manifest["flexnm_version"]}"
description: "{_TITLES[unit].format(manifest["derived"]["pattern"])}"

filesets:
  rtl:
    files:
      - {name}.v
      - {top}.v
    file_type: verilogSource
  sdc:
    files:
      - {name}.sdc
    file_type: SDC
  xdc:
    files:
      - {name}.xdc
    file_type: xdc
  lpf:
    files:
      - {name}.lpf
    file_type: LPF

targets:
  default:
    filesets: [rtl, "tool_vivado? (xdc)", "tool_trellis? (lpf)", "tool_openroad? (sdc)"]
    toplevel: {top}
  lint:
    filesets: [rtl]
    toplevel: {top}
    default_tool: verilator
    tools:
      verilator:
        mode: lint-only
        verilator_options: [-Wall]
"""


def sdc(manifest: dict[str, Any]) -> str:
    """Synopsys design constraints of the wrapper: a clock, delays at all other ports."""
    ports = wrapper_ports(manifest)
    data = [port for port in ports if port.name != "aclk"]
    return f"""# {wrapper_name(manifest)}: template. Set the period and the share of it that lies outside the unit.
set period {PERIOD_NS:.3f}
set outside [expr {{0.3 * $period}}]

create_clock -name aclk -period $period [get_ports aclk]
set_input_delay $outside -clock aclk [get_ports {{
{_names(port for port in data if port.direction == "input")}
}}]
set_output_delay $outside -clock aclk [get_ports {{
{_names(port for port in data if port.direction == "output")}
}}]
"""


def xdc(manifest: dict[str, Any]) -> str:
    """Vivado constraints for the wrapper as an out-of-context module."""
    return f"""# {wrapper_name(manifest)}: template for out-of-context synthesis in Vivado:
#   synth_design -mode out_of_context -top {wrapper_name(manifest)}
# In a whole design leave this file out: the clock comes from there.
create_clock -name aclk -period {PERIOD_NS:.3f} [get_ports aclk]
# Where the clock buffer will be, so that skew is estimated; the name of the site depends on the device.
# set_property HD.CLK_SRC BUFGCTRL_X0Y0 [get_ports aclk]
"""


def lpf(manifest: dict[str, Any]) -> str:
    """Constraints for nextpnr-ecp5."""
    return f"""# {wrapper_name(manifest)}: template for nextpnr-ecp5 --lpf.
# The wrapper has more ports than a package has pins: place it alone with --out-of-context, or put it into a design
# whose clock input this line names, and add that design's LOCATE COMP and IOBUF PORT lines.
FREQUENCY PORT "aclk" {1000 / PERIOD_NS:.3f} MHZ;
"""


def template(manifest: dict[str, Any]) -> str:
    """A module that declares a signal for each port of the wrapper and instantiates it: to be copied from."""
    ports = wrapper_ports(manifest)
    top = wrapper_name(manifest)
    wires = "\n".join(f"  wire {_span(port)}{port.name};{_note(port)}" for port in ports)
    connections = ",\n".join(f"    .{port.name}({port.name})" for port in ports)
    return f"""// {top}: instantiation template. Copy what is inside the module.
// SPDX-License-Identifier: Apache-2.0
module {manifest["name"]}_template;

{wires}

  {top} {manifest["top"]} (
{connections}
  );

endmodule
"""


def _names(ports: Iterable[Port]) -> str:
    return "\n".join(f"  {port.name}{'[*]' if port.width > 1 else ''}" for port in ports)


def _span(port: Port) -> str:
    return f"[{port.width - 1}:0] " if port.width > 1 else ""


def _note(port: Port) -> str:
    ignored = "" if port.core else ", ignored"
    return f"  // {port.direction}{ignored}"
