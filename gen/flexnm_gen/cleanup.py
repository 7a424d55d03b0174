"""From RTLIL to Verilog in Yosys: ``python -m flexnm_gen.cleanup SOURCE TARGET TOP``.

The passes change no function: they drop unused signals, memories' initial values and attributes, and widen operands to
the width of the operation, so that linters have nothing to say. Imports nothing but Yosys, because every generated unit
starts a process with this module.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from pyosys import libyosys as ys

_LINT_ON = "/* verilator lint_on UNUSEDSIGNAL */"
_APART = "no_rw_check"
"""Attribute of memories whose user never reads a word in the cycle it is written in: the only one that is kept."""
_SAME_WIDTH_OPERANDS = ("$eq", "$ne", "$lt", "$le", "$gt", "$ge")
_RESULT_WIDTH_OPERANDS = ("$add", "$sub", "$mul", "$and", "$or", "$xor", "$neg", "$pos", "$not")


def _clean(design: Any, top: str) -> None:
    for command in (
        "proc -noopt",
        "pmuxtree",
        "delete t:$meminit*",
        "opt_merge",
        "wreduce -keepdc",
        "opt_clean -purge",
    ):
        _run(design, command)
    for module in design.modules_.values():
        for cell in module.cells_.values():
            _widen(cell)
    _drop_unused_resets(design, top)
    for command in ("opt_merge", "opt_clean -purge", "attrmap -remove *", "attrmap -modattr -remove *"):
        _run(design, command)


def _run(design: Any, command: str) -> None:
    ys.Pass.call(design, f"tee -q {command}")


def _widen(cell: Any) -> None:
    kind = cell.type.str()
    if kind not in _SAME_WIDTH_OPERANDS and kind not in _RESULT_WIDTH_OPERANDS:
        return
    ports = ["A", "B"] if cell.hasPort(ys.IdString("\\B")) else ["A"]
    operands = {p: cell.getPort(ys.IdString(f"\\{p}")) for p in ports}
    result = cell.getPort(ys.IdString("\\Y")).size() if kind in _RESULT_WIDTH_OPERANDS else 0
    width = max(result, *(operand.size() for operand in operands.values()))
    for port, operand in operands.items():
        signed = cell.getParam(ys.IdString(f"\\{port}_SIGNED")).as_bool()
        operand.extend_u0(width, signed)
        cell.setPort(ys.IdString(f"\\{port}"), operand)
        cell.setParam(ys.IdString(f"\\{port}_WIDTH"), ys.Const(width, 32))


def _drop_unused_resets(design: Any, top: str) -> None:
    """Amaranth gives every module of a domain its reset port; remove it where nothing is reset.

    Repeated until nothing changes, because an instance without the port may leave its parent's reset unused.
    """
    rst = ys.IdString("\\rst")
    modules = {m.name.str(): m for m in design.modules_.values() if rst in m.wires_}
    uses = {name: sum("\\rst" in _bits([signal]) for signal in _signals(m)) for name, m in modules.items()}
    parents = [(name, cell) for name, m in modules.items() for cell in m.cells_.values() if cell.type.str() in modules]
    unused = [name for name in modules if name != f"\\{top}" and not uses[name]]
    while unused:
        module = modules[unused.pop()]
        wire = module.wires_[rst]
        if not wire.port_input:
            continue
        wire.port_input = False
        module.fixup_ports()
        for parent, cell in parents:
            if cell.type == module.name and cell.hasPort(rst):
                cell.unsetPort(rst)
                uses[parent] -= 1
                if not uses[parent] and parent != f"\\{top}":
                    unused.append(parent)


def _signals(module: Any) -> list[Any]:
    """Everything that a cell or an assignment of the module touches."""
    signals = [signal for cell in module.cells_.values() for signal in cell.connections_.values()]
    return [*signals, *(side for pair in module.connections_ for side in pair)]


def _read_bits(module: Any) -> dict[str, int]:
    """What a cell, an assignment or an output port of the module reads: see ``_bits``."""
    signals = [
        signal for cell in module.cells_.values() for port, signal in cell.connections_.items() if cell.input(port)
    ]
    return _bits([*signals, *(source for _, source in module.connections_)])


def _bits(signals: list[Any]) -> dict[str, int]:
    """Wires by name, each with a mask of the bits of it that are in the signals."""
    masks: dict[str, int] = {}
    for signal in signals:
        if signal.is_chunk():  # nearly always: a wire or a part of one
            chunk = signal.as_chunk()
            parts = [(chunk.wire, chunk.offset, chunk.width)]
        else:
            parts = [(bit.wire, bit.offset, 1) for bit in signal.to_sigbit_vector()]
        for wire, offset, width in parts:
            if wire is not None:
                name = wire.name.str()
                masks[name] = masks.get(name, 0) | ((1 << width) - 1) << offset
    return masks


def _quiet_unused(text: str, design: Any) -> str:
    """Tell linters of bits that nothing reads.

    Input bits that a configuration does not need are read by a wire called ``unused``, which linters take as meant.
    A record between two parts, of which the other part needs some fields only, carries Verilator's pragma.
    """
    for module in design.modules_.values():
        read = _read_bits(module)
        start = text.index(f"module {_verilog(module.name.str())}(")
        end = text.index("endmodule", start)
        body = text[start:end]
        sink = []
        for wire in sorted(module.wires_.values(), key=lambda wire: wire.port_id):
            name = wire.name.str()
            mask = read.get(name, 0)
            if wire.port_output or mask == (1 << wire.width) - 1:
                continue
            bits = [bit for bit in range(wire.width) if not mask >> bit & 1]
            if wire.port_input:
                whole = len(bits) == wire.width
                sink += [name[1:]] if whole else [f"{name[1:]}[{bit}]" for bit in bits]
            else:
                declared = re.compile(rf"^(  (?:wire|reg) (?:\[\d+:0\] )?{re.escape(_verilog(name))};)$", re.MULTILINE)
                body = declared.sub(rf"  /* verilator lint_off UNUSEDSIGNAL */\n\1\n  {_LINT_ON}", body)
        body += f"  wire unused = &{{1'b0, {', '.join(sink)}}};\n" if sink else ""
        text = text[:start] + body + text[end:]
    return text


def _with_attribute(text: str, module: str, memory: str) -> str:
    """Verilog with ``_APART`` at one memory; ``write_verilog`` writes all attributes or none."""
    start = text.index(f"\nmodule {module}(")
    declared = re.compile(rf"^  (reg (?:\[\d+:0\] )?{re.escape(memory)} *\[\d+:0\];)$", re.MULTILINE)
    return text[:start] + declared.sub(rf"  (* {_APART} *) \1", text[start:], count=1)


def _verilog(name: str) -> str:
    """An RTLIL name as Verilog writes it: escaped, with a space behind it, where it has other characters."""
    plain = name[1:] if name.startswith("\\") else name
    return plain if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", plain) else f"\\{plain} "


def _main(source: str, target: str, top: str) -> None:
    design = ys.Design()
    _run(design, f"read_rtlil {source}")
    apart = [
        (module.name.str()[1:], name.str()[1:])
        for module in design.modules_.values()
        for name, memory in module.memories.items()
        if memory.get_bool_attribute(ys.IdString(f"\\{_APART}"))
    ]
    _clean(design, top)
    _run(design, f"write_verilog -norename -noattr {target}")
    file = Path(target)
    text = _quiet_unused(file.read_text(), design)
    for module, name in apart:
        text = _with_attribute(text, module, name)
    file.write_text(text)


if __name__ == "__main__":
    _main(*sys.argv[1:])
