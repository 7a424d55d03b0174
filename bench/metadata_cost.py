"""Area of the metadata formats in a standard-cell library: ``python bench/metadata_cost.py --liberty FILE ...``.

``encoder``: from the mask of a block to its metadata; ``decoder``: back. Both a block a cycle, with registers behind
every stage (of bitmasks there is nothing else). ``compressor``, ``decompressor``: the whole units, 8-bit activations,
where values wait for their metadata and the encoder shares the positions of kept values with the compaction. Areas are
sums of cells without wires. ``ABC ps``: estimate of the longest path, without wires and set-up time. ``cycles``:
latency. A mapping takes seconds, all of them minutes.
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
from amaranth.hdl import Cat, Module, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from flexnm_gen.asic import Mapped, map_area
from flexnm_gen.liberty import read_liberty
from flexnm_gen.netlist import to_verilog
from flexnm_rtl.compressor import Compressor
from flexnm_rtl.config import Config, Metadata
from flexnm_rtl.decompressor import Decompressor
from flexnm_rtl.enumerative import RankDecoder, RankEncoder
from flexnm_rtl.pipeline import delay
from flexnm_rtl.positions import metadata_of, moves_of, positions_of_channel
from rich.console import Console
from rich.progress import track
from rich.table import Table

Row = dict[str, Any]
PATTERNS = ((2, 4), (4, 8), (8, 16), (16, 32))


class PlainCodec(wiring.Component):
    """``result``: a bitmask or an index list from ``mask``, or the mask from one (``decodes``), an enable later."""

    latency = 1

    def __init__(self, cfg: Config, *, decodes: bool) -> None:
        self.cfg = cfg
        self.decodes = decodes
        sizes = (cfg.metadata_width, cfg.m_group) if decodes else (cfg.m_group, cfg.metadata_width)
        super().__init__({"source": In(sizes[0]), "enable": In(1), "result": Out(sizes[1])})

    def elaborate(self, platform: object) -> Module:
        """The register, and what an index list needs before it."""
        m = Module()
        result: Value = self.source
        if self.cfg.metadata is Metadata.INDEX:
            result = self._mask() if self.decodes else self._indices(m)
        m.d.comb += self.result.eq(delay(m, self.enable, result, "result"))
        return m

    def _indices(self, m: Module) -> Value:
        return metadata_of(m, self.cfg, self.source, moves_of(m, self.cfg, self.source, "move"))

    def _mask(self) -> Value:
        cfg = self.cfg
        fields = [self.source.word_select(n, cfg.index_width) for n in range(cfg.n_keep)]
        return Cat(Cat(fields[n] == i for n in positions_of_channel(cfg, i)).any() for i in range(cfg.m_group))


def encoder(cfg: Config) -> Any:
    """From masks to metadata."""
    return RankEncoder(cfg) if cfg.metadata is Metadata.ENUMERATIVE else PlainCodec(cfg, decodes=False)


def decoder(cfg: Config) -> Any:
    """From metadata to masks."""
    return RankDecoder(cfg) if cfg.metadata is Metadata.ENUMERATIVE else PlainCodec(cfg, decodes=True)


UNITS: dict[str, Callable[[Config], Any]] = {
    "encoder": encoder,
    "decoder": decoder,
    "compressor": Compressor,
    "decompressor": Decompressor,
}


@dataclass(frozen=True)
class Case:
    """A unit to be mapped."""

    unit: str
    cfg: Config


def cases() -> Iterator[Case]:
    """Everything that is measured."""
    for n, m in PATTERNS:
        for metadata in Metadata:
            for unit in UNITS:
                yield Case(unit, Config(n_keep=n, m_group=m, lanes=1, metadata=metadata))


def measure(chosen: Sequence[Case], liberty: Sequence[Path], clock_ps: float, jobs: int) -> list[Row]:
    """Map all cases. Amaranth converts in this thread, Yosys maps in processes of its own."""
    read_liberty(liberty)  # says what is wrong before anything is converted
    console = Console(stderr=True)
    with ThreadPoolExecutor(jobs) as pool:
        futures = []
        for case in track(chosen, "converting", console=console):
            unit = UNITS[case.unit](case.cfg)
            source = to_verilog(unit, "unit")
            futures.append((case, unit.latency, pool.submit(map_area, source, "unit", liberty, clock_ps=clock_ps)))
        done = track(futures, "mapping", console=console)
        return [row_of(case, latency, future.result()) for case, latency, future in done]


def row_of(case: Case, latency: int, mapped: Mapped) -> Row:
    """The figures of one case; areas in um2."""
    cfg = case.cfg
    return {
        "pattern": cfg.pattern, "metadata": cfg.metadata.value, "bits a block": cfg.metadata_width, "unit": case.unit,
        "area": mapped.area, "flip-flops": mapped.sequential_area, "cells": mapped.cells, "ABC ps": mapped.delay_ps,
        "cycles": latency,
    }  # fmt: skip


def table_of(rows: Sequence[Row], title: str) -> Table:
    """One line for every pattern and format: of each unit area, path and latency."""
    table = Table(title=title)
    keys = ("pattern", "metadata", "bits a block")
    for column in (*keys, *UNITS):
        table.add_column(column, justify="left" if column in keys[:2] else "right")
    lines: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        cell = f"{row['area']:.1f} / {row['ABC ps']:.0f} / {row['cycles']}"
        lines.setdefault(tuple(str(row[key]) for key in keys), {})[row["unit"]] = cell
    for key, cells in lines.items():
        table.add_row(*key, *(cells[unit] for unit in UNITS))
    return table


def run(options: argparse.Namespace) -> None:
    """Measure, print the table, write the JSON if asked."""
    liberty = options.liberty
    rows = measure(list(cases()), liberty, options.clock, options.jobs)
    title = f"Metadata formats: um2 / ABC ps / cycles, gates sized for {options.clock:g} ps"
    Console(width=150).print(table_of(rows, title))
    if options.json:
        result = {"liberty": [file.name for file in liberty], "clock_ps": options.clock, "rows": rows}
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def main() -> int:
    """Exit status 2, and one line, for Liberty files that cannot be used."""
    parser = liberty_parser(__doc__)
    parser.add_argument("--clock", type=float, default=1000.0, help="period in ps for which gates are sized")
    parser.add_argument("--jobs", type=int, default=min(4, os.cpu_count() or 1), help="mappings at a time")
    return exit_status(run, parser)


if __name__ == "__main__":
    sys.exit(main())
