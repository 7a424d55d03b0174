"""The register map for programs: constants as a C header and as a Python module."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flexnm_rtl.registers import DECODE_IDENTIFICATION, IDENTIFICATION, REGISTER_MAPS, Field, Register

PREFIXES = {"linear": "FLEXNM_", "decode": "FLEXNM_DECODE_"}
_IDENTIFICATIONS = {"linear": IDENTIFICATION, "decode": DECODE_IDENTIFICATION}


@dataclass(frozen=True)
class Constant:
    """A named number of the register map; ``comment`` only where one starts a group."""

    name: str
    value: int
    hexadecimal: bool
    comment: str = ""


def constants(top: str) -> Iterator[Constant]:
    """All constants of an engine, in order: of every register its address, of every field its shift and its mask there.

    A field that has its register's name shares its prefix: ``FLEXNM_TOKENS_MASK``, not ``FLEXNM_TOKENS_TOKENS_MASK``.
    """
    prefix = PREFIXES[top]
    yield Constant(f"{prefix}ID_VALUE", _IDENTIFICATIONS[top], True, "What the register id reads.")
    for register in REGISTER_MAPS[top].values():
        comment = f"{register.name}: {register.access}"
        yield Constant(f"{prefix}{register.name.upper()}_ADDR", register.offset, True, comment)
        for field in register.fields:
            name = prefix + _name(register, field)
            yield Constant(f"{name}_SHIFT", field.low, False, field.meaning)
            yield Constant(f"{name}_MASK", ((1 << field.width) - 1) << field.low, True)


def c_header(manifest: dict[str, Any]) -> str:
    """C header of ``#define`` lines. All engines of one kind and version have the same map and share the guard."""
    lines = [
        f"/* Registers of {manifest['name']}: flexnm {manifest['flexnm_version']}.",
        "   Addresses in bytes from the unit's base; masks in place, as in (word & MASK) >> SHIFT.",
        "   SPDX-License-Identifier: Apache-2.0 */",
        f"#ifndef {PREFIXES[manifest['top']]}REGS_H",
        f"#define {PREFIXES[manifest['top']]}REGS_H",
    ]
    for constant in constants(manifest["top"]):
        lines += ["", f"/* {constant.comment} */"] if constant.name.endswith(("_ADDR", "_VALUE")) else []
        note = f" /* {constant.comment} */" if constant.name.endswith("_SHIFT") else ""
        lines.append(f"#define {constant.name} {_number(constant)}u{note}")
    return "\n".join([*lines, "", "#endif", ""])


def python_header(manifest: dict[str, Any]) -> str:
    """Python module of integer constants, standard library only."""
    lines = [
        f'"""Registers of {manifest["name"]}: flexnm {manifest["flexnm_version"]}.',
        "",
        "Addresses in bytes from the unit's base; masks in place, as in ``(word & MASK) >> SHIFT``.",
        '"""',
        "",
        "# SPDX-License-Identifier: Apache-2.0",
    ]
    for constant in constants(manifest["top"]):
        lines += ["", f"# {constant.comment}"] if constant.name.endswith(("_ADDR", "_VALUE")) else []
        note = f"  # {constant.comment}" if constant.name.endswith("_SHIFT") else ""
        lines.append(f"{constant.name} = {_number(constant)}{note}")
    return "\n".join([*lines, ""])


def _name(register: Register, field: Field) -> str:
    own = register.name if field.name == register.name else f"{register.name}_{field.name}"
    return own.upper()


def _number(constant: Constant) -> str:
    return f"{constant.value:#x}" if constant.hexadecimal else str(constant.value)
