"""Mapping to an FPGA in Yosys: ``python -m flexnm_gen.fpga_map SETTINGS RESULT``, two JSON files.

The unit is one module that Yosys optimises by itself; around it, where nextpnr is to follow, is a harness
(``flexnm_gen.fpga_harness``). Their cells are counted apart, then both become one netlist, ``netlist.json``. Without a
harness the cells can be replaced by what they compute, ``behaviour.v``. Imports nothing but Yosys and the harness:
``flexnm_gen.fpga`` starts it in a process of its own, because an error ends it.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from pyosys import libyosys as ys

from flexnm_gen.fpga_harness import HARNESS, Port, harness
from flexnm_gen.fpga_registers import pack_registers

OWN_REGISTERS = ("_pe", "_value_bank", "_route_bank", "_weight_bank", "_result_row", "_column_choice")
"""Ends of the names of modules that stay modules until they are mapped."""


def _run(design: Any, *commands: str) -> None:
    for command in filter(None, commands):
        ys.Pass.call(design, command)


def _ports(module: Any) -> list[Port]:
    wires = [wire for wire in module.wires_.values() if wire.port_id]
    return [
        Port(wire.name.str()[1:], wire.width, bool(wire.port_input)) for wire in sorted(wires, key=lambda w: w.port_id)
    ]


def _module(design: Any, name: str) -> Any:
    return design.module(ys.IdString(f"\\{name}"))


def _keep_elements(design: Any, keep: bool) -> None:
    """Whether modules with ``OWN_REGISTERS`` stay modules. Flattened, they would lose those of operands and strobes:
    Yosys merges equal ones into one that drives the whole array.
    """
    for module in design.modules_.values():
        if module.name.str().endswith(OWN_REGISTERS):
            module.set_bool_attribute(ys.IdString("\\keep_hierarchy"), keep)


def _cells(module: Any, without: str = "") -> dict[str, int]:
    """Cells by type, without the marks that Yosys leaves and without one module."""
    kinds = Counter(cell.type.str() for cell in module.cells_.values())
    return {kind[1:]: kinds[kind] for kind in sorted(kinds) if kind[0] != "$" and kind[1:] != without}


def _map(given: dict[str, Any]) -> dict[str, Any]:
    design, unit = ys.Design(), given["top"]
    # Yosys 0.70 stops on Amaranth's names of array elements in synth_xilinx and synth_gowin.
    _run(design, "read_verilog design.v", f"hierarchy -check -top {unit}", "proc")
    _keep_elements(design, True)
    _run(design, "flatten -noscopeinfo")
    _run(design, "rename -hide */w:*[*")
    top = unit
    if given["harness"]:
        Path("harness.v").write_text(harness(unit, _ports(_module(design, unit))), encoding="utf-8")
        _module(design, unit).set_bool_attribute(ys.IdString("\\keep_hierarchy"), True)
        _run(design, "read_verilog harness.v")
        top = HARNESS
    _run(design, f"{given['script']} -top {top}")
    _keep_elements(design, False)
    _run(design, "flatten -noscopeinfo", "opt_clean")
    if given["own_registers"]:
        pack_registers(_module(design, unit))
    found = {"unit": _cells(_module(design, unit)), "harness": {}}
    if given["harness"]:
        found["harness"] = _cells(_module(design, HARNESS), without=unit)
        _module(design, unit).set_bool_attribute(ys.IdString("\\keep_hierarchy"), False)
        _run(design, "flatten -noscopeinfo", "opt_clean", given["pads"], "write_json netlist.json")
    if given["behaviour"]:
        _run(design, "delete =A:blackbox =A:whitebox", *given["behaviour"])
        _run(design, f"hierarchy -check -purge_lib -top {unit}", "proc")
        _run(design, "flatten -wb -noscopeinfo", "opt_clean", "check -assert", "write_verilog -noattr behaviour.v")
    return found


def _main(settings: str, result: str) -> None:
    found = _map(json.loads(Path(settings).read_text(encoding="utf-8")))
    Path(result).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    _main(*sys.argv[1:])
