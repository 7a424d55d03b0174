"""Sparse array and compressor against the dense array of equal throughput: ``python bench/sparse_dense.py``.

Both are ``MacArray``: the dense one keeps N = M and has M/N times the lanes, so that a block of M channels takes both
the same cycles. Areas (um2, sums of cells, no wires) come from one mapping of an array with two rows, every module by
itself, and are put together for each number of rows: processing elements, the row's registers and decoder, result
registers (the last row's do not shift) and a compressor's share for each row, weight registers once for all rows. A
compressor serves as many rows as a block takes cycles. The dense array's offsets, which it does not need, are left out
of its area. The periods of arrays are of one row as one netlist, where nets that columns share have buffers;
``--parts-only`` leaves that out.
``--energy``: energy over that of the dense array on captured layers, as ``flexnm_tb.power`` measures it at the period
for which gates are sized, with the compressors' added. Four arrays of few rows and columns run gate by gate; what a
row, a column and an element add between them is taken for each further one. The dense array's offsets stand still, but
their clock counts.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from _liberty import exit_status, liberty_parser
from flexnm_gen.asic import Mapped, map_area
from flexnm_gen.asic_best import Effort, map_best
from flexnm_gen.asic_recipes import Hierarchy, Recipe
from flexnm_gen.generate import render
from flexnm_gen.liberty import read_liberty
from flexnm_gen.timing import minimum_period
from flexnm_model.cache import replacing
from flexnm_rtl.config import Config, ConfigError
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

Row = dict[str, Any]

COLUMNS = 32
PART_ROWS = 2
"""Rows of the array whose parts are measured: one with every kind of part."""
ROWS = (1, 2, 4, 8, 16)
PATTERNS = ((2, 4), (4, 8), (8, 16), (16, 32))
ENERGY_ROWS = (1, 2)
ENERGY_COLUMNS = (2, 6)
"""Rows and columns of the arrays that are simulated."""
RECIPE = Recipe("direct")
"""How arrays are mapped, sparse and dense. As one netlist they meet 1 GHz by it; with full adders the array of 8:16
does not, and rewritten an element alone does not. Module by module, with no buffers in between, nothing meets it.
"""
CHANNELS = 8 * 1536 * 9
"""Channels that are simulated: eight tokens of the widest of the nine layers, as many of each of them."""
SHOWN = (1, 4, 16)
"""Rows whose energy is in the table."""
UNUSED = ("route", "route_bank")
"""Modules of a dense array that only a sparse one needs."""


@dataclass(frozen=True)
class Measured:
    """A mapped unit."""

    top: str
    cfg: Config
    mapped: Mapped

    def area(self, kind: str) -> float:
        """Of one module ``kind``, 0 where there is none."""
        part = self.mapped.parts.get(f"{self.mapped.top}_{kind}")
        return part.area if part else 0.0


def measured(top: str, cfg: Config, options: argparse.Namespace, mapping: Callable[..., Mapped]) -> Measured:
    """Map a unit by ``map_best`` or ``map_area``, with what they have not in common."""
    module, files = render(top, cfg)
    return Measured(top, cfg, mapping(files[f"{module}.v"], module, options.liberty, clock_ps=options.clock))


def measured_array(cfg: Config, options: argparse.Namespace, hierarchy: Hierarchy) -> Measured:
    """Map an array by ``RECIPE``."""
    return measured("mac_array", cfg, options, partial(map_area, hierarchy=hierarchy, recipe=RECIPE))


def period(unit: Measured, options: argparse.Namespace) -> float:
    """Its minimum period in ps."""
    return minimum_period(unit.mapped, options.liberty).period_ps


def areas_of(array: Measured, compressor: Measured | None) -> dict[str, float]:
    """Areas of the parts: a processing element, weights of a column, what a row adds, the rest."""
    column = array.area("weight_bank")
    element = array.area("pe")
    unused = 0.0 if compressor else sum(array.area(kind) for kind in UNUSED)
    shared = array.area("sequencer")
    results, final = array.area("result_row"), array.area("final_result_row")
    rows = array.cfg.rows
    rest = array.mapped.area - COLUMNS * (rows * element + column) - shared - (rows - 1) * results - final
    share = compressor.mapped.area / array.cfg.steps if compressor else 0.0
    row = rest / rows - unused + results
    once = shared + final - results
    return {"element": element, "column": column, "row": row, "compressor": share, "shared": once}


def total(areas: dict[str, float], rows: int) -> float:
    """Area of an array of so many rows."""
    once = COLUMNS * areas["column"] + areas["shared"]
    return rows * (COLUMNS * areas["element"] + areas["row"] + areas["compressor"]) + once


def energy_pj(unit: Measured, options: argparse.Namespace) -> float:
    """pJ for a block of M channels, at the period for which gates are sized."""
    from flexnm_tb.power import measure_power  # with torch, which takes its time to load

    found = measure_power(
        unit.top, unit.cfg, unit.mapped, options.liberty, period_ps=options.clock, blocks=CHANNELS // unit.cfg.m_group
    )
    cycles = 1 if unit.top == "compressor" else unit.cfg.steps  # of a block
    return float(found["power"]["total"] * options.clock * cycles)  # W ps = pJ


def array_energy(cfg: Config, options: argparse.Namespace) -> dict[int, float]:
    """pJ for a block of each row and all columns, by the number of rows."""

    def simulated(rows: int, cols: int) -> float:
        return energy_pj(measured_array(cfg.replace(rows=rows, cols=cols), options, Hierarchy.NONE), options)

    few, more = ENERGY_COLUMNS
    columns = {rows: (simulated(rows, few), simulated(rows, more)) for rows in ENERGY_ROWS}
    low, high = (_line(few, more, columns[rows], COLUMNS) for rows in ENERGY_ROWS)
    return {rows: _line(*ENERGY_ROWS, (low, high), rows) for rows in ROWS}


def _line(few: int, more: int, values: tuple[float, float], at: int) -> float:
    """The straight line through the values at ``few`` and ``more``."""
    low, high = values
    return low + (at - few) * (high - low) / (more - few)


def compare(n: int, m: int, lanes: int, options: argparse.Namespace, progress: Progress) -> Row:
    """The figures of one pattern and number of lanes."""
    cfg = Config(n_keep=n, m_group=m, lanes=lanes, rows=PART_ROWS, cols=COLUMNS, k_max=options.k_max)
    arrays = {"sparse": cfg, "dense": cfg.replace(n_keep=m, lanes=lanes * m // n)}
    dense_lanes = arrays["dense"].lanes
    steps = 3 + 2 * (not options.parts_only) + 3 * options.energy
    task = progress.add_task(f"{n}:{m}, {lanes} lanes", total=steps)

    def done(result: Any) -> Any:
        progress.advance(task)
        return result

    best = partial(map_best, effort=Effort(options.effort), jobs=options.jobs)
    compressor = done(measured("compressor", cfg, options, best))
    parts = {name: done(measured_array(of, options, Hierarchy.ALL)) for name, of in arrays.items()}
    areas = {"sparse": areas_of(parts["sparse"], compressor), "dense": areas_of(parts["dense"], None)}
    row: Row = {"pattern": f"{n}:{m}", "lanes": lanes, "dense_lanes": dense_lanes, "areas": areas}
    row["recipe"] = {name: unit.mapped.recipe for name, unit in (parts | {"compressor": compressor}).items()}
    row["area_ratio"] = {rows: total(areas["sparse"], rows) / total(areas["dense"], rows) for rows in ROWS}
    whole = {} if options.parts_only else arrays
    row["period_ps"] = {
        name: done(period(measured_array(of.replace(rows=1), options, Hierarchy.NONE), options))
        for name, of in whole.items()
    }
    row["period_ps"]["compressor"] = period(compressor, options)
    row["energy_pj"] = row["energy_ratio"] = None
    if options.energy:
        pj = {name: done(array_energy(of, options)) for name, of in arrays.items()}
        one = done(energy_pj(compressor, options))
        row["energy_pj"] = pj | {"compressor": one}
        row["energy_ratio"] = {rows: (pj["sparse"][rows] + rows * one) / pj["dense"][rows] for rows in ROWS}
    return row


def table_of(rows: Sequence[Row], title: str) -> Table:
    """A line for each comparison."""
    table = Table(title=title)
    heads = ("pattern", "lanes", "element", "dense el.", "row", "compressor", "column", "ps", "compr. ps", "dense ps")
    for head in (*heads, *(f"area, {rows} rows" for rows in ROWS), *(f"energy, {rows} rows" for rows in SHOWN)):
        table.add_column(head, justify="right")
    for row in rows:
        sparse, dense = row["areas"]["sparse"], row["areas"]["dense"]
        parts = (sparse["element"], dense["element"], sparse["row"], sparse["compressor"], sparse["column"])
        periods = (row["period_ps"].get(name) for name in ("sparse", "compressor", "dense"))
        ratios = (f"{ratio:.3f}" for ratio in row["area_ratio"].values())
        found = row["energy_ratio"]
        energies = (f"{found[rows]:.3f}" if found else "-" for rows in SHOWN)
        numbers = (*(f"{part:.1f}" for part in parts), *(f"{period:.0f}" if period else "-" for period in periods))
        table.add_row(row["pattern"], f"{row['lanes']} / {row['dense_lanes']}", *numbers, *ratios, *energies)
    return table


def run(options: argparse.Namespace) -> None:
    """Measure, print the table, write the JSON if asked."""
    read_liberty(options.liberty)
    patterns = [(n, m) for n, m in PATTERNS if not options.pattern or f"{n}:{m}" in options.pattern]
    if not patterns:
        raise ConfigError(f"--pattern {' '.join(options.pattern)} is unknown: choose from 2:4, 4:8, 8:16, 16:32")
    with Progress(console=Console(stderr=True)) as progress:
        rows = [
            compare(n, m, lanes, options, progress)
            for n, m in patterns
            for lanes in ({n} if options.full else {n, n // 2})
        ]
    title = f"Sparse against dense, {COLUMNS} columns, um2, gates sized for {options.clock:g} ps"
    Console(width=190).print(table_of(rows, title))
    if options.json:
        result = {"liberty": [file.name for file in options.liberty], "clock_ps": options.clock, "rows": rows}
        with replacing(options.json) as target:
            target.write_text(json.dumps(result, indent=2) + "\n")


def main() -> int:
    """Exit status 2, and one line, for what cannot be used."""
    parser = liberty_parser(__doc__)
    add = parser.add_argument
    add("--clock", type=float, default=1000.0, metavar="PS", help="period for which gates are sized")
    add("--pattern", nargs="*", default=[], metavar="N:M", help="some of 2:4, 4:8, 8:16, 16:32")
    add("--full", action="store_true", help="N lanes only, not N/2 as well")
    add("--k-max", type=int, default=2048)
    add("--energy", action="store_true", help="energy too: a gate simulation of each")
    add("--parts-only", action="store_true", help="no period of whole arrays: saves minutes")
    add("--jobs", type=int, default=0, help="mappings at a time (default: one for each processor)")
    add("--effort", choices=[effort.value for effort in Effort], default=Effort.BEST.value)
    return exit_status(run, parser)


if __name__ == "__main__":
    sys.exit(main())
