"""Area of the methods' hardware in a standard-cell library: ``python bench/method_cost.py --liberty FILE ...``.

Units by themselves, and the linear engine (preset n8m16-serial, K up to 2048, 64 tokens) without methods and with each
of them. Areas are sums of cells without wires; memories are counted in bits and add no area. ``adds``: what the units
put into an engine, all of a kind together and, of a compressor or an engine, beyond the plain one. ``share``: that
over the logic of the engine without methods. ``ABC ps``: estimate of the longest path, without wires and set-up time.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _liberty import exit_status, liberty_parser
from amaranth.lib import wiring
from flexnm_gen.asic import Mapped, map_area
from flexnm_gen.liberty import read_liberty
from flexnm_gen.netlist import to_verilog
from flexnm_rtl.compressor import Compressor
from flexnm_rtl.config import Config
from flexnm_rtl.group_buffer import GroupBuffer
from flexnm_rtl.linear import LinearEngine
from flexnm_rtl.presets import preset
from flexnm_rtl.recenter import Recenter
from flexnm_rtl.token_correction import TokenCorrection
from flexnm_rtl.variance_meter import VarianceMeter
from rich.console import Console
from rich.progress import track
from rich.table import Table

Options = dict[str, dict[str, Any]]
Row = dict[str, Any]

BASE = preset("n8m16-serial").replace(k_max=2048, t_max=64)
PATTERNS = (BASE, BASE.replace(n_keep=16, m_group=32))
PLAIN = "plain"
STATIC, TOKEN, VARIANCE = {"static_shift": True}, {"token_shift": True}, {"variance": True}
FINE = {"fraction_bits": 2}
FACTORS: Options = {
    **{f"multiply {bits}": {"score_factor": "multiply", "factor_width": bits} for bits in (4, 6, 8)},
    **{f"shift {bits}": {"score_factor": "shift", "factor_width": bits} for bits in (2, 3)},
}
SHIFTS: Options = {"static": STATIC, "token": TOKEN, "static, token": STATIC | TOKEN}
EVERYTHING = STATIC | TOKEN | VARIANCE


def finer(options: Options) -> Options:
    """The options as they are, and once more with two bits of fraction."""
    return options | {f"{name}, f = 2": fields | FINE for name, fields in options.items()}


UNITS: dict[str, tuple[Callable[[Config], wiring.Component], Callable[[Config], int], Options]] = {
    "compressor": (
        Compressor,
        lambda cfg: cfg.act_ports,
        {PLAIN: {}, **FACTORS, "values of f = 2": STATIC | FINE},
    ),
    "recenter": (Recenter, lambda cfg: cfg.act_ports, finer(SHIFTS)),
    "group buffer": (GroupBuffer, lambda cfg: 1, finer({"token": TOKEN})),
    "variance meter": (VarianceMeter, lambda cfg: 1, {"variance": VARIANCE, "variance, f = 2": EVERYTHING | FINE}),
    "token correction": (
        TokenCorrection,
        lambda cfg: cfg.result_ports,
        {**SHIFTS, "variance": VARIANCE, "all": EVERYTHING, "all, f = 2": EVERYTHING | FINE},
    ),
}
"""How each unit is built, how many an engine has, and the options it is measured with."""

ENGINES: Options = {
    PLAIN: {},
    **{name: FACTORS[name] for name in ("multiply 8", "shift 3")},
    **finer({name: SHIFTS[name] for name in ("static", "token")}),
    "variance": VARIANCE,
    "all, multiply 8": EVERYTHING | FACTORS["multiply 8"],
    "all, multiply 8, f = 2": EVERYTHING | FACTORS["multiply 8"] | FINE,
}


@dataclass(frozen=True)
class Case:
    """A unit to be mapped; ``times``: how many of it an engine has."""

    unit: str
    option: str
    cfg: Config
    kind: Callable[[Config], wiring.Component]
    times: int

    @property
    def key(self) -> tuple[str, str, str]:
        """What the table calls it."""
        return self.cfg.pattern, self.unit, self.option


def cases() -> Iterator[Case]:
    """Everything that is measured; of the second pattern only the plain engine, for the shares."""
    for base in PATTERNS:
        for option, fields in ENGINES.items() if base is BASE else [(PLAIN, {})]:
            yield Case("engine", option, base.replace(**fields), LinearEngine, 1)
        for unit, (kind, times, options) in UNITS.items():
            for option, fields in options.items():
                cfg = base.replace(**fields)
                yield Case(unit, option, cfg, kind, times(cfg))


def measure(chosen: Sequence[Case], liberty: Sequence[Path], clock_ps: float, jobs: int) -> list[Row]:
    """Map all cases. Amaranth converts in this thread, Yosys maps in processes of its own."""
    read_liberty(liberty)  # says what is wrong before anything is converted
    with ThreadPoolExecutor(jobs) as pool:
        futures = [
            pool.submit(map_area, to_verilog(case.kind(case.cfg), "unit"), "unit", liberty, clock_ps=clock_ps)
            for case in track(chosen, "converting", console=Console(stderr=True))
        ]
        results = [future.result() for future in track(futures, "mapping", console=Console(stderr=True))]
    areas = {case.key: mapped.area for case, mapped in zip(chosen, results, strict=True)}
    return [row_of(case, mapped, areas) for case, mapped in zip(chosen, results, strict=True)]


def row_of(case: Case, mapped: Mapped, areas: dict[tuple[str, str, str], float]) -> Row:
    """The figures of one case; areas in um2."""
    pattern, unit, option = case.key
    added = case.times * (mapped.area - areas.get((pattern, unit, PLAIN), 0.0)) if option != PLAIN else 0.0
    return {
        "pattern": pattern, "unit": unit, "option": option, "area": mapped.area,
        "flip-flops": mapped.sequential_area, "cells": mapped.cells, "memory bits": mapped.memory_bits,
        "ABC ps": mapped.delay_ps, "times": case.times, "adds": added,
        "share": added / areas[pattern, "engine", PLAIN],
    }  # fmt: skip


def table_of(rows: Sequence[Row], title: str) -> Table:
    """One line for every case."""
    table = Table(title=title)
    for column in rows[0]:
        table.add_column(column, justify="left" if column in ("pattern", "unit", "option") else "right")
    last = rows[0]
    for row in rows:
        if row["unit"] != last["unit"]:
            table.add_section()
        last = row
        share = f"{100 * row['share']:.1f} %"
        numbers = (f"{value:.0f}" if isinstance(value, float) else str(value) for value in list(row.values())[:-1])
        table.add_row(*numbers, share)
    return table


def run(options: argparse.Namespace) -> None:
    """Measure, print the table, write the JSON if asked."""
    liberty = options.liberty
    rows = measure(list(cases()), liberty, options.clock, options.jobs)
    Console(width=150).print(table_of(rows, f"Hardware of the methods, um2, gates sized for {options.clock:g} ps"))
    if options.json:
        result = {"liberty": [file.name for file in liberty], "clock_ps": options.clock, "config": BASE.as_dict()}
        options.json.write_text(json.dumps(result | {"rows": rows}, indent=2) + "\n")


def main() -> int:
    """Exit status 2, and one line, for Liberty files that cannot be used."""
    parser = liberty_parser(__doc__)
    parser.add_argument("--clock", type=float, default=1000.0, help="period in ps for which gates are sized")
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="mappings at a time")
    return exit_status(run, parser)


if __name__ == "__main__":
    sys.exit(main())
