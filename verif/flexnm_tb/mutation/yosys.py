"""Mutants in Yosys: ``python -m flexnm_tb.mutation.yosys SPECIFICATION``, a JSON file with a task.

A process of its own for each task, because Yosys ends the process when it finds an error. Tasks:

- ``list``: choose mutants of a design; writes them as JSON.
- ``apply``: put them all into the design, each turned on by its number on an input ``mutsel``; writes Verilog.
- ``prove``: whether one mutant changes anything; see ``flexnm_tb.mutation.equivalence``.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pyosys import libyosys as ys

from flexnm_tb.mutation.equivalence import prove
from flexnm_tb.mutation.mutant import Mutant, expression_of, line_of, parse

CONTROL = "mutsel"
_SPARE = 1.2
"""More mutants than wanted are drawn, because some are left out, those of clocks above all."""


def _run(design: Any, *commands: str) -> None:
    for command in commands:
        ys.Pass.call(design, f"tee -q {command}")


def _read(task: dict[str, Any]) -> Any:
    design = ys.Design()
    # Beside its file, so that source locations carry no folder.
    _run(design, *(f"read_verilog {name}" for name in task["sources"]))
    _run(design, f"hierarchy -check -top {task['top']}", "proc", "opt_clean")
    return design


def _name(identifier: Any) -> str:
    text: str = identifier.str()
    return text.removeprefix("\\")


def _pinned(kind: str, port: str) -> bool:
    """Whether a port is no gate: a read port of a memory has an enable and resets only where it has a clock."""
    return kind.startswith("$memrd") and port in ("EN", "ARST", "SRST")


def _set_by_benches(cell: Any, port: str, names: list[str]) -> bool:
    """Whether a mutant of a port would cut a signal off from the register that benches set through it."""
    signal = cell.getPort(ys.IdString(f"\\{port}"))
    wires = {_name(bit.wire.name) for bit in signal.to_sigbit_vector() if bit.wire is not None}
    return cell.output(ys.IdString(f"\\{port}")) and not wires.isdisjoint(names)


def _place(cell: Any, expression: str) -> str:
    """Kind of a cell and the net behind its output, or its expression where the net has no name of its own; of an
    instance only its name.
    """
    kind = _name(cell.type)
    if not kind.startswith("$"):
        return f"instance {_name(cell.name)}"
    outputs = [signal for port, signal in cell.connections_.items() if cell.output(port)]
    bits = [bit for signal in outputs for bit in signal.to_sigbit_vector() if bit.wire is not None]
    net = _name(bits[0].wire.name) if bits else ""
    return f"{kind} {expression if f'{kind}$' in net or not net else f'{net}[{bits[0].offset}]'}"


def _list(task: dict[str, Any]) -> None:
    design = _read(task)
    drawn = Path("mutants.txt")
    _run(design, f"mutate -list {int(task['count'] * _SPARE) + 10} -seed {task['seed']} -o {drawn}")
    modules = {_name(module.name): module for module in design.modules_.values()}
    texts = {name: Path(name).read_text(encoding="utf-8").splitlines() for name in task["sources"]}
    mutants: list[dict[str, Any]] = []
    for options in parse(drawn.read_text(encoding="utf-8")):
        cells = {_name(cell.name): cell for cell in modules[options["module"]].cells_.values()}
        cell, port = cells[options["cell"]], options["port"]
        if len(mutants) == task["count"] or _pinned(_name(cell.type), port):
            continue
        if _set_by_benches(cell, port, task["internals"].get(options["module"], [])):
            continue
        source = options.get("src", "")
        mutant = Mutant(
            number=len(mutants) + 1,
            mode=options["mode"],
            module=options["module"],
            cell=options["cell"],
            port=port,
            portbit=int(options["portbit"]),
            ctrlbit=int(options["ctrlbit"]) if "ctrlbit" in options else None,
            place=_place(cell, expression_of(source, texts)),
            line=line_of(source),
        )
        mutants.append(asdict(mutant))
    Path(task["out"]).write_text(json.dumps(mutants, indent=1) + "\n", encoding="utf-8")


def _apply(design: Any, mutants: list[Mutant], width: int) -> None:
    for mutant in mutants:
        _run(design, f"mutate -ctrl {CONTROL} {width} {mutant.number} {mutant.options}")


def _write(task: dict[str, Any]) -> None:
    design = _read(task)
    _apply(design, [Mutant(**mutant) for mutant in task["mutants"]], task["width"])
    _run(design, f"write_verilog -norename -noattr {task['out']}")


def _prove(task: dict[str, Any]) -> None:
    mutant = Mutant(**task["mutant"])
    how = prove(lambda: _read(task), _run, mutant, task["tops"], task["seconds"])
    Path(task["out"]).write_text(json.dumps(how), encoding="utf-8")


def _main(specification: str) -> None:
    task = json.loads(Path(specification).read_text(encoding="utf-8"))
    {"list": _list, "apply": _write, "prove": _prove}[task["task"]](task)


if __name__ == "__main__":
    _main(sys.argv[1])
