"""Register documents of the engines against the register maps and a C compiler."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from engine_tools import ALL_CONFIGS, CASES, IDENTITIES, PREFIXES, both, engine, written
from flexnm_rtl.registers import DECODE_IDENTIFICATION, IDENTIFICATION, REGISTER_MAPS


def expected_constants(top: str) -> dict[str, int]:
    """The register map as the headers should have it, worked out from ``REGISTER_MAPS`` here."""
    start = PREFIXES[top]
    expected = {f"{start}_ID_VALUE": IDENTIFICATION if top == "linear" else DECODE_IDENTIFICATION}
    for register in REGISTER_MAPS[top].values():
        expected[f"{start}_{register.name.upper()}_ADDR"] = register.offset
        for field in register.fields:
            words = [register.name] if field.name == register.name else [register.name, field.name]
            prefix = f"{start}_{'_'.join(words).upper()}"
            expected[f"{prefix}_SHIFT"] = field.low
            expected[f"{prefix}_MASK"] = sum(1 << bit for bit in range(field.low, field.low + field.width))
    return expected


@both
def test_c_header_compiles_and_agrees(top: str, tmp_path: Path) -> None:
    """Included twice, by the compiler's own reading of every constant, and none more than expected."""
    name = written(top, "default", tmp_path)
    header = f"{name}_regs.h"
    expected = expected_constants(top)
    checks = "\n".join(f'_Static_assert({key} == {value}u, "{key}");' for key, value in expected.items())
    source = tmp_path / "check.c"
    source.write_text(f'#include "{header}"\n#include "{header}"\n{checks}\nint main(void) {{ return 0; }}\n')
    command = ["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    defined = set(re.findall(r"^#define (\w+) ", (tmp_path / header).read_text(), re.MULTILINE))
    assert defined == set(expected)


def test_both_c_headers_in_one_program(tmp_path: Path) -> None:
    """No name is defined twice."""
    includes = [f'#include "{written(top, "default", tmp_path)}_regs.h"\n' for top in ALL_CONFIGS]
    source = tmp_path / "both.c"
    source.write_text("".join(includes) + '_Static_assert(FLEXNM_ID_VALUE != FLEXNM_DECODE_ID_VALUE, "");\n')
    command = ["gcc", "-std=c11", "-Wall", "-Werror", "-pedantic", "-fsyntax-only", str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not expected_constants("linear").keys() & expected_constants("decode").keys()


@both
def test_python_header_agrees(top: str) -> None:
    """Constants and nothing else; it imports nothing."""
    name, _, files = engine(top, "default")
    text = files[f"{name}_regs.py"]
    found: dict[str, Any] = {"__builtins__": {}}
    exec(compile(text, "header", "exec"), found)
    assert {key: value for key, value in found.items() if not key.startswith("__")} == expected_constants(top)


@pytest.mark.parametrize("top, config", CASES, scope="module")
def test_registers_page_lists_every_register(top: str, config: str) -> None:
    """Name, address, every field with its bits, and the words this unit answers with."""
    _, _, files = engine(top, config)
    page = files["registers.md"]
    values = IDENTITIES[top](ALL_CONFIGS[top][config])
    registers = REGISTER_MAPS[top].values()
    for register in registers:
        section = page.partition(f"\n## {register.name}\n")[2].partition("\n## ")[0]
        assert f"`{register.offset:#04x}`" in section
        assert (f"`{values.get(register.name, 0):#010x}`" in section) == (register.name in values)
        for field in register.fields:
            bits = f"{field.low + field.width - 1}:{field.low}" if field.width > 1 else f"{field.low}"
            assert f"| {bits} | `{field.name}` | {field.meaning} |" in section
    assert page.count("\n## ") == len(registers)
