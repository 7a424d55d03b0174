"""Mapping in Yosys: ``python -m flexnm_gen.asic_map SETTINGS RESULT``, two JSON files.

Modules used several times are mapped once and stay modules; all others become part of their parent, unless all modules
or none are to stay. Memories stay memories. The result names cells of every module, before any counting; the netlists
are ``netlist.v``, where every memory is an empty module of its own, and ``behaviour.v``, where those modules hold the
memories. Imports nothing but Yosys: ``flexnm_gen.asic`` starts it in a process of its own, because an error ends it.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from pyosys import libyosys as ys

_MEMORY = "$mem_v2"
_PLAIN = "-noattr -noexpr -nohex -simple-lhs -renameprefix g"  # names like _1_ would be hidden from traces


def _run(design: Any, *commands: str) -> None:
    for command in commands:
        ys.Pass.call(design, command)


def _keep_modules(design: Any, hierarchy: str) -> None:
    """Mark what the flattening leaves alone; hierarchy: a value of ``Hierarchy``."""
    uses = Counter(cell.type.str() for module in design.modules_.values() for cell in module.cells_.values())
    for name, module in ((module.name.str(), module) for module in design.modules_.values()):
        if hierarchy == "all" or (hierarchy == "repeated" and uses[name] > 1):
            module.set_bool_attribute(ys.IdString("\\keep_hierarchy"), True)


def _map(settings: dict[str, Any]) -> Any:
    """The mapped design. Flip-flops have no enables or resets.

    Multipliers are Yosys's own with Booth's recoding: rows of bits, one for each bit, are larger.
    """
    design = ys.Design()
    top = settings["top"]
    liberty = " ".join(f"-liberty {path}" for path in settings["liberty"])
    avoided = "".join(f" -dont_use {cell}" for cell in settings["avoided"])
    _run(design, f"{settings['reader']} {settings['source']}", f"hierarchy -check -top {top}")
    _keep_modules(design, settings["hierarchy"])
    _run(design, "flatten -noscopeinfo", "opt_clean", f"synth -top {top} -nofsm -booth -run :fine")
    _run(design, "opt -fast -full", "opt -full", "techmap", "setundef -zero", "opt -fast")
    if settings["adders"]:
        _run(design, "extract_fa -fa", f"techmap -map {settings['adders']}", "techmap", "opt -fast")
    print(settings["marker"], flush=True)
    _run(design, f"dfflibmap {liberty}{avoided}", "opt -fast")
    _run(design, f"abc -script {settings['script']} {liberty}{avoided} {settings['timing']}", "opt_clean -purge")
    return design


def _contents(module: Any) -> dict[str, Any]:
    """Cells by type, and the memories as width and words."""
    cells: Counter[str] = Counter()
    memories = []
    for cell in module.cells_.values():
        kind = cell.type.str().removeprefix("\\")
        if kind == _MEMORY:
            memories.append([cell.getParam(ys.IdString(f"\\{name}")).as_int() for name in ("WIDTH", "SIZE")])
        else:
            cells[kind] += 1
    return {"cells": cells, "memories": memories}


def _write_netlists(design: Any, top: str) -> None:
    """Verilog that simple readers understand: one wire a bit, no expressions; every memory in a module of its own."""
    for module in design.modules_.values():
        memories = [cell for cell in module.cells_.values() if cell.type.str() == _MEMORY]
        for i, cell in enumerate(memories):
            cell.set_string_attribute(ys.IdString("\\submod"), f"memory{i}")
    _run(design, "splitnets", "opt_clean -purge", "submod", f"hierarchy -top {top}")
    for module in design.modules_.values():
        for wire in module.wires_.values():
            wire.is_signed = False  # which small readers do not know
    _run(design, f"write_verilog {_PLAIN} behaviour.v")
    for module in list(design.modules_.values()):
        if any(cell.type.str() == _MEMORY for cell in module.cells_.values()):
            _run(design, f"blackbox {module.name.str()[1:]}")
    _run(design, f"write_verilog {_PLAIN} netlist.v")


def _main(settings: str, result: str) -> None:
    given = json.loads(Path(settings).read_text(encoding="utf-8"))
    design = _map(given)
    found = {module.name.str().removeprefix("\\"): _contents(module) for module in design.modules_.values()}
    _write_netlists(design, given["top"])
    Path(result).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    _main(*sys.argv[1:])
