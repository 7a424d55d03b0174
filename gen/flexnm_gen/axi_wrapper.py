"""The wrapper of an engine: plain Verilog-2001 whose port names are those of AMBA."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Port:
    """A port of the wrapper. ``core``: what the port of the core inside is connected to; empty when it has none."""

    name: str
    direction: str
    width: int
    core: str = ""

    @property
    def declaration(self) -> str:
        """The port as Verilog declares it, without what follows."""
        span = f"[{self.width - 1}:0] " if self.width > 1 else ""
        return f"{self.direction} wire {span}{self.name}"


def wrapper_name(manifest: dict[str, Any]) -> str:
    """Module name of the wrapper."""
    return f"{manifest['name']}_axi"


def wrapper_ports(manifest: dict[str, Any]) -> list[Port]:
    """Ports of the wrapper, in order: the core's, and the optional AXI signals that the core does without."""
    ports: list[Port] = []
    for port in manifest["ports"]:
        name, direction, width = port["name"], port["direction"], port["width"]
        if name == "clk":
            ports.append(Port("aclk", direction, width, "clk"))
        elif name == "rst":
            ports.append(Port("aresetn", direction, width, "rst"))
        else:
            ports.append(Port(name.replace("__", "_"), direction, width, name))
            ports += _ignored(ports[-1])
    return ports


def axi_wrapper(manifest: dict[str, Any]) -> str:
    """Text of the wrapper ``<name>_axi``.

    ``aclk`` is the core's clock; ``aresetn``, active low and synchronous to it, its reset. ``s_axi_awprot``,
    ``s_axi_arprot`` and ``tkeep`` of the input streams are accepted and ignored: every register answers to every
    kind of access, and the length of a packet follows from the job. All other signals pass straight through.
    """
    name, ports = wrapper_name(manifest), wrapper_ports(manifest)
    buses = ":".join(_buses(ports))
    declarations = ",\n".join(f"  {p.declaration}" for p in ports)
    connections = ",\n".join(f"    .{p.core}({_source(p)})" for p in ports if p.core)
    unused = ", ".join(p.name for p in ports if not p.core)
    return (
        f"// {name}: flexnm {manifest['flexnm_version']}, AXI names for {manifest['name']}\n"
        "// SPDX-License-Identifier: Apache-2.0\n"
        "`default_nettype none\n\n"
        f"module {name} (\n"
        f'  (* X_INTERFACE_PARAMETER = "ASSOCIATED_BUSIF {buses}, ASSOCIATED_RESET aresetn" *)\n'
        f"{declarations}\n"
        ");\n\n"
        f"  {manifest['name']} core (\n{connections}\n  );\n\n"
        f"  wire unused = &{{1'b0, {unused}}};\n\n"
        "endmodule\n\n"
        "`default_nettype wire\n"
    )


def _ignored(port: Port) -> Iterator[Port]:
    """Optional signals that belong behind ``port`` and that the core does not have."""
    bus, _, signal = port.name.rpartition("_")
    if port.direction == "input" and signal == "tdata":
        yield Port(f"{bus}_tkeep", "input", port.width // 8)
    if port.direction == "input" and signal in ("awaddr", "araddr"):
        yield Port(f"{bus}_{signal[:2]}prot", "input", 3)


def _source(port: Port) -> str:
    return "~aresetn" if port.name == "aresetn" else port.name


def _buses(ports: list[Port]) -> list[str]:
    buses = [port.name.rpartition("_")[0] for port in ports if port.core not in ("clk", "rst")]
    return list(dict.fromkeys(buses))
