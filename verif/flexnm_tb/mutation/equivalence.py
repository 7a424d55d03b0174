"""Whether a mutant that no test noticed changes anything at all: a proof, where one is found in the time given.

Original and mutant get the same inputs, and their outputs are compared, a stream's payload only while it is valid. ABC
looks for signals that are always equal (``scorr``: induction over all pairs of signals at once) until the comparison is
constant, or proves that it never fails (``pdr``). Multipliers are cut out: their operands are compared like outputs,
and their products are inputs that both get, which can only make a proof harder. First the mutant's module alone, with
any inputs; then the module around it, and so on up to the whole unit. Registers and memories begin at zero, inputs and
resets are free in every cycle: a proof covers all that can follow a power-up at zero.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import pyosys
from pyosys import libyosys as ys

from flexnm_tb.mutation.mutant import Mutant

_ABC = Path(pyosys.__file__).with_name("yosys-abc")
_FILE = "comparison.aig"
_PREPARE = ("flatten", "memory_map", "opt_clean", "setundef -undriven -zero")
_TO_AIG = (
    "hierarchy -top comparison", "opt_clean", "techmap", "simplemap", "opt_expr", "opt_clean", "async2sync", "dffunmap",
    "setundef -zero -init -undriven", "aigmap", "opt_clean", f"write_aiger -zinit {_FILE}",
)  # fmt: skip
_PAYLOADS = {
    r"(.*)__payload": r"\1__valid",
    r"(.*_axis_.*?_+)t(?:data|last|keep)": r"\1tvalid",
    r"(s_axi_+[br])(?:resp|data)": r"\1valid",
}
"""Outputs that mean nothing while another one, the second name, is 0."""


def prove(load: Callable[[], Any], run: Callable[..., None], mutant: Mutant, tops: Iterable[str], seconds: int) -> str:
    """How the mutant was proved equivalent, or an empty text. load: reads the design. run: runs Yosys commands on it.

    tops: modules to compare, the smallest first. seconds: for the last step of each.
    """
    for top in tops:
        design = load()
        run(design, f"hierarchy -top {top}", "design -save whole", *_PREPARE)
        _mask(design, top)
        run(design, "design -save original", "design -load whole", f"mutate {mutant.options}", *_PREPARE)
        _mask(design, top)
        run(design, "design -save changed", "design -reset")
        run(design, *(f"design -copy-from {name} -as {name} {top}" for name in ("original", "changed")))
        run(design, "miter -equiv -flatten original changed comparison", *_TO_AIG)
        if _never(seconds):
            return f"outputs of {top} are equal in every cycle"
    return ""


def _never(seconds: int) -> bool:
    """Whether ABC proves that the output of the comparison is 0 for ever."""
    script = f"read {_FILE}; strash; scorr -F 1; ps; pdr -T {seconds}; sat"
    try:
        done = subprocess.run([_ABC, "-c", script], capture_output=True, text=True, check=False, timeout=4 * seconds)
    except subprocess.TimeoutExpired:
        return False
    # Where scorr leaves no register, pdr has nothing to say; sat has, and only there.
    return "Property proved" in done.stdout or bool(re.search(r"^UNSATISFIABLE", done.stdout, re.MULTILINE))


def _mask(design: Any, top: str) -> None:
    """In the flat module ``top``, cut out multipliers, and force outputs to zero while they mean nothing."""
    module = next(module for module in design.modules_.values() if module.name.str() == f"\\{top}")
    _cut(module)
    outputs = {wire.name.str()[1:]: wire for wire in module.wires_.values() if wire.port_output}
    for name, wire in outputs.items():
        valid = valid_of(name, outputs.keys())
        if valid is not None:
            masked = module.addWire(ys.IdString(f"\\masked_{name}"), wire.width)
            wire.port_output, masked.port_output = False, True
            zero, shown = ys.SigSpec(ys.Const(0, wire.width)), ys.SigSpec(wire)
            select = ys.SigSpec(outputs[valid])
            module.addMux(ys.IdString(f"\\mask_{name}"), zero, shown, select, ys.SigSpec(masked))
    module.fixup_ports()


def _cut(module: Any) -> None:
    multipliers = {cell.name.str(): cell for cell in module.cells_.values() if cell.type.str() == "$mul"}
    for number, name in enumerate(sorted(multipliers)):
        cell = multipliers[name]
        ports = {port: cell.getPort(ys.IdString(f"\\{port}")) for port in "ABY"}
        module.remove(cell)
        for port, signal in ports.items():
            wire = module.addWire(ys.IdString(f"\\cut_{number}_{port}"), signal.size())
            wire.port_input, wire.port_output = port == "Y", port != "Y"
            inside, outside = (signal, ys.SigSpec(wire)) if port == "Y" else (ys.SigSpec(wire), signal)
            module.connect(inside, outside)


def valid_of(port: str, ports: Collection[str]) -> str | None:
    """The output that says whether ``port`` means anything; None when there is none among ``ports``."""
    for pattern, valid in _PAYLOADS.items():
        found = re.fullmatch(pattern, port)
        if found and found.expand(valid) in ports:
            return found.expand(valid)
    return None
