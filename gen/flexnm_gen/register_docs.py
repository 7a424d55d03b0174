"""The register map for people: ``registers.md``."""

from __future__ import annotations

from typing import Any

from flexnm_rtl import decode_registers, linear_registers
from flexnm_rtl.config import Config
from flexnm_rtl.registers import REGISTER_MAPS, Access, Field, Register

_IDENTITIES = {"linear": linear_registers.identity, "decode": decode_registers.identity}
_ACCESS = {
    Access.READ_ONLY: "read only: a write answers SLVERR",
    Access.JOB: "read and write; while `status.busy` is 1 a write answers SLVERR",
    Access.TABLE: "write an entry of a table, reads 0; while `status.busy` is 1 a write answers SLVERR",
    Access.COMMAND: "write 1 to a bit to act; reads 0",
    Access.CLEAR: "read; write 1 to a bit to clear it",
}


def registers_page(manifest: dict[str, Any]) -> str:
    """Markdown: every register with address, access and fields, and the values that are fixed in this unit."""
    values = _IDENTITIES[manifest["top"]](Config.from_dict(manifest["config"]))
    registers = REGISTER_MAPS[manifest["top"]].values()
    lines = [
        f"# Registers of {manifest['name']}",
        "",
        f"AXI4-Lite `s_axi`, 32 data bits, flexnm {manifest['flexnm_version']}.",
        "Addresses are in bytes, relative to the unit's base; the two lowest address bits are ignored. Bits without a",
        "field read 0 and ignore writes. An address without a register answers SLVERR, and so does a write that the",
        "register's access does not allow; neither changes anything. Write strobes select bytes. After reset all",
        "registers are 0 but those with a value below.",
        "",
        "| register | address | access |",
        "|---|---|---|",
        *(f"| [`{r.name}`](#{r.name}) | `{r.offset:#04x}` | {_ACCESS[r.access]} |" for r in registers),
    ]
    for register in registers:
        lines += ["", *_section(register, values)]
    return "\n".join(lines) + "\n"


def _section(register: Register, values: dict[str, int]) -> list[str]:
    title = [f"## {register.name}", "", f"`{register.offset:#04x}`, {_ACCESS[register.access]}."]
    rows = [f"| {_bits(f)} | `{f.name}` | {f.meaning} |" for f in register.fields]
    if register.name not in values:
        return [*title, "", "| bits | field | meaning |", "|---|---|---|", *rows]
    word = values[register.name]
    decoded = register.decode(word)
    rows = [f"{row} {decoded[f.name]} |" for row, f in zip(rows, register.fields, strict=True)]
    fixed = f"In this unit `{word:#010x}`."
    return [*title, fixed, "", "| bits | field | meaning | value |", "|---|---|---|---|", *rows]


def _bits(field: Field) -> str:
    return f"{field.low + field.width - 1}:{field.low}" if field.width > 1 else f"{field.low}"
