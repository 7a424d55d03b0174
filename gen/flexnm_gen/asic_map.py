"""Mapping in Yosys: ``python -m flexnm_gen.asic_map SETTINGS RESULT``, two JSON files.

Modules used several times are mapped once and stay modules; all others become part of their parent, unless everything
is to stay apart. Memories stay memories. The result names cells of every module, before any counting. Imports nothing
but Yosys: ``flexnm_gen.asic`` starts it in a process of its own, because an error ends it.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from pyosys import libyosys as ys

_MEMORY = "$mem_v2"


def _run(design: Any, *commands: str) -> None:
    for command in commands:
        ys.Pass.call(design, command)


def _keep_modules(design: Any, everything: bool) -> None:
    """Mark what the flattening leaves alone."""
    uses = Counter(cell.type.str() for module in design.modules_.values() for cell in module.cells_.values())
    for name, module in ((module.name.str(), module) for module in design.modules_.values()):
        if everything or uses[name] > 1:
            module.set_bool_attribute(ys.IdString("\\keep_hierarchy"), True)


def _map(settings: dict[str, Any]) -> Any:
    """The mapped design. Full adders and multipliers are Yosys's own (Booth); flip-flops have no enables or resets."""
    design = ys.Design()
    top = settings["top"]
    liberty = " ".join(f"-liberty {path}" for path in settings["liberty"])
    avoided = "".join(f" -dont_use {cell}" for cell in settings["avoided"])
    _run(design, f"{settings['reader']} {settings['source']}", f"hierarchy -check -top {top}")
    _keep_modules(design, settings["hierarchy"])
    _run(design, "flatten -noscopeinfo", "opt_clean", f"synth -top {top} -nofsm -booth -run :fine")
    _run(design, "opt -fast -full", "opt -full", "techmap", "setundef -zero", "opt -fast")
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


def _main(settings: str, result: str) -> None:
    design = _map(json.loads(Path(settings).read_text(encoding="utf-8")))
    found = {module.name.str().removeprefix("\\"): _contents(module) for module in design.modules_.values()}
    Path(result).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    _main(*sys.argv[1:])
