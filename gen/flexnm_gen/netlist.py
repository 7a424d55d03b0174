"""From an Amaranth component to Verilog text.

Amaranth writes RTLIL; Yosys (pyosys, in a process of its own) cleans it and writes Verilog. The passes change no
function: they drop unused signals, initial values (control registers are reset, data registers need none) and
attributes, and widen operands to the width of the operation, so that linters have nothing to say.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from amaranth.back import rtlil
from amaranth.lib import wiring
from flexnm_rtl.sharing import SharedModules
from pyosys import libyosys as ys

_LINT_ON = "/* verilator lint_on UNUSEDSIGNAL */"
_SAME_WIDTH_OPERANDS = ("$eq", "$ne", "$lt", "$le", "$gt", "$ge")
_RESULT_WIDTH_OPERANDS = ("$add", "$sub", "$mul", "$and", "$or", "$xor", "$neg", "$pos", "$not")


def to_verilog(component: wiring.Component, name: str) -> str:
    """Verilog of ``component`` with top module ``name``; all other modules are called ``<name>_...``.

    Equal input gives equal bytes, on every run and in every process.
    """
    shared = SharedModules(name)
    top = rtlil.convert(component, name=name, platform=shared, emit_src=False)
    text = "\n".join(_plain_names(part) for part in (*shared.definitions.values(), top))
    return _in_fresh_process(_without_init(text), name)


def _in_fresh_process(text: str, top: str) -> str:
    """Clean RTLIL and write Verilog. Yosys numbers its wires with a counter that only a new process sets back."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "design.il", Path(folder) / "design.v"
        source.write_text(text)
        command = [sys.executable, "-P", "-m", __name__, str(source), str(target), top]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Yosys failed on {top}: {done.stderr}{done.stdout}")
        return target.read_text()


def _plain_names(text: str) -> str:
    """Turn the hierarchical module names ``\\top.sub`` into the plain identifiers ``\\top_sub``."""
    names = re.findall(r"^module \\(\S+)$", text, re.MULTILINE)
    for dotted in sorted((n for n in names if "." in n), key=len, reverse=True):
        plain = dotted.replace(".", "_")
        text = re.sub(rf"^(\s*(?:module|cell) )\\{re.escape(dotted)}(?=\s)", rf"\1\\{plain}", text, flags=re.MULTILINE)
    return text


def _without_init(text: str) -> str:
    return re.sub(r"^\s*attribute \\init .*\n", "", text, flags=re.MULTILINE)


def _clean(source: str, top: str) -> Any:
    design = ys.Design()
    _run(design, f"read_rtlil {source}")
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
    return design


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
    changed = True
    while changed:
        changed = False
        for module in design.modules_.values():
            if module.name.str() == f"\\{top}" or rst not in module.wires_:
                continue
            wire = module.wires_[rst]
            if not wire.port_input or _is_used(module, rst):
                continue
            wire.port_input = False
            module.fixup_ports()
            for parent in design.modules_.values():
                for cell in parent.cells_.values():
                    if cell.type == module.name and cell.hasPort(rst):
                        cell.unsetPort(rst)
            changed = True


def _is_used(module: Any, name: Any) -> bool:
    return any(wire == name.str() for wire, _ in _used_bits(module))


def _used_bits(module: Any) -> set[tuple[str, int]]:
    """Wire name and bit number of everything that a cell or an assignment of the module touches."""
    signals = [signal for cell in module.cells_.values() for signal in cell.connections_.values()]
    return _bits([*signals, *(side for pair in module.connections_ for side in pair)])


def _read_bits(module: Any) -> set[tuple[str, int]]:
    """Wire name and bit number of everything that a cell, an assignment or an output port of the module reads."""
    signals = [
        signal for cell in module.cells_.values() for port, signal in cell.connections_.items() if cell.input(port)
    ]
    return _bits([*signals, *(source for _, source in module.connections_)])


def _bits(signals: list[Any]) -> set[tuple[str, int]]:
    bits = (bit for signal in signals for bit in signal.to_sigbit_vector())
    return {(bit.wire.name.str(), bit.offset) for bit in bits if bit.wire is not None}


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
            bits = [bit for bit in range(wire.width) if (name, bit) not in read]
            if wire.port_output or not bits:
                continue
            if wire.port_input:
                whole = len(bits) == wire.width
                sink += [name[1:]] if whole else [f"{name[1:]}[{bit}]" for bit in bits]
            else:
                declared = re.compile(rf"^(  (?:wire|reg) (?:\[\d+:0\] )?{re.escape(_verilog(name))};)$", re.MULTILINE)
                body = declared.sub(rf"  /* verilator lint_off UNUSEDSIGNAL */\n\1\n  {_LINT_ON}", body)
        body += f"  wire unused = &{{1'b0, {', '.join(sink)}}};\n" if sink else ""
        text = text[:start] + body + text[end:]
    return text


def _verilog(name: str) -> str:
    """An RTLIL name as Verilog writes it: escaped, with a space behind it, where it has other characters."""
    plain = name[1:] if name.startswith("\\") else name
    return plain if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", plain) else f"\\{plain} "


def _main(source: str, target: str, top: str) -> None:
    design = _clean(source, top)
    _run(design, f"write_verilog -norename -noattr {target}")
    file = Path(target)
    file.write_text(_quiet_unused(file.read_text(), design))


if __name__ == "__main__":
    _main(*sys.argv[1:])
