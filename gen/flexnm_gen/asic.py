"""Area of a unit in a standard-cell library: Yosys and ABC map it onto the cells of Liberty files.

Memories are not mapped, neither onto flip-flops nor onto macros: they are counted in bits and add nothing to an area.
Areas are sums of cells, before placement: without wires, clock tree, fill and tie cells.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from amaranth.lib import wiring
from flexnm_rtl.config import ConfigError

from flexnm_gen.asic_recipes import USUAL, Hierarchy, Recipe
from flexnm_gen.full_adder import full_adder
from flexnm_gen.liberty import Library, read_liberty
from flexnm_gen.netlist import to_verilog

_MAPPING = "flexnm: mapping"
"""Line of Yosys's log from which on what goes wrong is the library's fault."""

LOADS = 4
"""Inverters that load every output while ABC sizes gates; one more drives every input (``Library.driver``)."""


@dataclass(frozen=True)
class Part:
    """What one module holds itself, without the modules in it; areas in the library's unit (um2).

    ``uses``: how often the module occurs in the design. ``area``, ``sequential_area`` (flip-flops and latches of it),
    ``cells`` (by type) and ``memories`` (width in bits, words) are of one of them.
    """

    name: str
    uses: int
    area: float
    sequential_area: float
    cells: dict[str, int]
    memories: tuple[tuple[int, int], ...]

    @property
    def memory_bits(self) -> int:
        """Bits of memory in one of them."""
        return sum(width * words for width, words in self.memories)


@dataclass(frozen=True)
class Mapped:
    """A mapped design. ``delay_ps``: ABC's estimate of the longest path inside a part, without wires and set-up time;
    None when it was mapped without a clock.

    ``netlist``: Verilog of nothing but cells of the library and modules of them; each memory is an instance of a module
    that is not in it. ``behaviour``: the same with those modules, where a memory is an array of registers. ``recipe``:
    name of the one that it was mapped by.
    """

    top: str
    parts: dict[str, Part]
    delay_ps: float | None
    netlist: str = field(repr=False)
    behaviour: str = field(repr=False)
    recipe: str = ""

    @property
    def area(self) -> float:
        """Area of all cells, in the library's unit (um2)."""
        return sum(part.uses * part.area for part in self.parts.values())

    @property
    def sequential_area(self) -> float:
        """The share of flip-flops and latches in ``area``."""
        return sum(part.uses * part.sequential_area for part in self.parts.values())

    @property
    def kinds(self) -> set[str]:
        """Cells of the library that occur, by name."""
        return {kind for part in self.parts.values() for kind in part.cells} - self.parts.keys()

    @property
    def cells(self) -> int:
        """Number of cells."""
        return sum(part.uses * sum(part.cells.values()) for part in self.parts.values())

    @property
    def memory_bits(self) -> int:
        """Bits of all memories, which are not in ``area``."""
        return sum(part.uses * part.memory_bits for part in self.parts.values())


def map_component(
    component: wiring.Component,
    name: str,
    liberty: Sequence[Path],
    *,
    clock_ps: float | None = None,
    recipe: Recipe = USUAL,
) -> Mapped:
    """``map_area`` of an Amaranth component, converted as the generator does, with top module ``name``."""
    return map_area(to_verilog(component, name), name, liberty, clock_ps=clock_ps, recipe=recipe)


def map_area(
    source: str,
    top: str,
    liberty: Sequence[Path],
    *,
    clock_ps: float | None = None,
    hierarchy: Hierarchy = Hierarchy.REPEATED,
    recipe: Recipe = USUAL,
) -> Mapped:
    """Map Verilog or RTLIL text with top module ``top`` onto the cells of ``liberty``, files of one library.

    ``clock_ps``: period for which ABC sizes gates and adds buffers; without it, it only looks for a small area, and
    nothing is buffered. ``hierarchy``: which modules are parts, beside the top.
    ``recipe``: how ABC goes about it; ``flexnm_gen.asic_best`` tries all.
    Raises ConfigError for Liberty files that are missing, damaged or cannot carry the design.
    """
    library = read_liberty(liberty)
    named = ", ".join(map(str, liberty))
    with tempfile.TemporaryDirectory() as folder:
        found, log = _mapped(source, top, library, named, Path(folder), clock_ps, hierarchy, recipe)
        netlist, behaviour = (
            Path(folder, f"{name}.v").read_text(encoding="utf-8") for name in ("netlist", "behaviour")
        )
    delays = [float(delay) for delay in re.findall(r"Delay =\s*([\d.]+) ps", log)]
    delay = max(delays, default=0.0) if clock_ps else None
    return Mapped(top, _parts(found, top, library, named), delay, netlist, behaviour, recipe.name)


def _mapped(
    source: str,
    top: str,
    library: Library,
    named: str,
    folder: Path,
    clock_ps: float | None,
    hierarchy: Hierarchy,
    recipe: Recipe,
) -> tuple[dict[str, Any], str]:
    """Contents of every module as ``asic_map`` writes them, and the log."""
    texts = {f"cells{i}.lib": text for i, text in enumerate(library.texts)} | {"design": source}
    load = LOADS * library.driver.load * library.load_ff
    texts["script"] = recipe.script(clock_ps)
    texts["constraints"] = f"set_driving_cell {library.driver.name}\nset_load {load:.4f}\n"
    adder = full_adder(library) if recipe.full_adders else None
    if adder:
        texts["adders"] = adder.techmap
    settings = {
        "adders": "adders" if adder else None,
        "top": top,
        "source": "design",
        "marker": _MAPPING,
        "reader": "read_verilog" if "endmodule" in source else "read_rtlil",
        "liberty": [name for name in texts if name.endswith(".lib")],
        "avoided": library.avoided,
        "hierarchy": hierarchy,
        "timing": f"-D {clock_ps:g} -constr constraints" if clock_ps else "",
        "script": "script",
    }
    for name, text in (texts | {"settings": json.dumps(settings)}).items():
        (folder / name).write_text(text, encoding="utf-8")
    command = [sys.executable, "-P", "-m", "flexnm_gen.asic_map", "settings", "result"]
    environment = os.environ | {"TMPDIR": str(folder)}  # Yosys and ABC leave files there
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        _fail(done.stdout + done.stderr, top, named)
    return json.loads((folder / "result").read_text(encoding="utf-8")), done.stdout


def _fail(log: str, top: str, named: str) -> None:
    wrong = re.compile(r"\berror\b|cannot be used", re.IGNORECASE)
    errors = [line.strip() for line in log.splitlines() if wrong.search(line)] or ["Yosys ended"]
    if _MAPPING in log:
        raise ConfigError(f"LIBERTY={named} cannot carry {top}: {errors[0]}")
    raise RuntimeError(f"Yosys failed on {top}: {errors[0]}")


def _parts(found: dict[str, Any], top: str, library: Library, named: str) -> dict[str, Part]:
    """The modules below ``top``, with the number of times each is used and its area."""
    uses: Counter[str] = Counter()

    def count(module: str, times: int) -> None:
        uses[module] += times
        for kind, number in found[module]["cells"].items():
            if kind in found:
                count(kind, times * number)

    count(top, 1)
    parts = {}
    for name, times in uses.items():
        cells = {kind: number for kind, number in found[name]["cells"].items() if kind not in found}
        missing = sorted(cells.keys() - library.cells.keys())
        if missing:
            raise ConfigError(f"LIBERTY={named} has no cell for {missing[0]}: give all files of the library")
        free = sorted(kind for kind in cells if library.cells[kind].area <= 0)
        if free:
            raise ConfigError(f"LIBERTY={named} gives no area for {free[0]}: every cell in use needs one")
        areas = [(library.cells[kind], number) for kind, number in cells.items()]
        area = sum(cell.area * number for cell, number in areas)
        sequential = sum(cell.area * number for cell, number in areas if cell.sequential)
        memories = tuple((width, words) for width, words in found[name]["memories"])
        parts[name] = Part(name, times, area, sequential, cells, memories)
    return parts
