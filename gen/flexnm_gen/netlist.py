"""From an Amaranth component to Verilog text.

Amaranth writes RTLIL; Yosys, in a process of its own, cleans it and writes Verilog (``flexnm_gen.cleanup``). Initial
values are dropped: control registers are reset, data registers need none.
"""

from __future__ import annotations

import contextlib
import gc
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring
from flexnm_rtl.sharing import SharedModules


def to_verilog(component: wiring.Component, name: str) -> str:
    """Verilog of ``component`` with top module ``name``; all other modules are called ``<name>_...``.

    Equal input gives equal bytes, on every run and in every process.
    """
    shared = SharedModules(name)
    with _without_collector():
        top = rtlil.convert(component, name=name, platform=shared, emit_src=False)
    text = "\n".join(_plain_names(part) for part in (*shared.definitions.values(), top))
    return _in_fresh_process(_without_init(text), name)


@contextlib.contextmanager
def _without_collector() -> Iterator[None]:
    """A conversion makes millions of objects that live until its end: looking for garbage in them is lost time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _in_fresh_process(text: str, top: str) -> str:
    """Clean RTLIL and write Verilog. Yosys numbers its wires with a counter that only a new process sets back."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "design.il", Path(folder) / "design.v"
        source.write_text(text)
        command = [sys.executable, "-P", "-m", "flexnm_gen.cleanup", str(source), str(target), top]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Yosys failed on {top}: {done.stderr}{done.stdout}")
        return target.read_text()


def _plain_names(text: str) -> str:
    """Turn the hierarchical module names ``\\top.sub`` into the plain identifiers ``\\top_sub``."""
    dotted = {name: name.replace(".", "_") for name in re.findall(r"^module \\(\S+\.\S+)$", text, re.MULTILINE)}

    def plain(match: re.Match[str]) -> str:
        name = str(match[2])
        return f"{match[1]}{dotted.get(name, name)}"

    return re.sub(r"^(\s*(?:module|cell) \\)(\S+)", plain, text, flags=re.MULTILINE)


def _without_init(text: str) -> str:
    return re.sub(r"^\s*attribute \\init .*\n", "", text, flags=re.MULTILINE)
