"""What ``flexnm synth`` prints: a table of the units, and one line for whatever needs saying."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from flexnm_gen.fpga_targets import KINDS
from flexnm_gen.synth import ASIC
from rich.console import Console
from rich.table import Table

WIDTH = 160
Record = dict[str, Any]
_FPGA = {
    "luts": "LUTs",
    "flip_flops": "flip-flops",
    "carry": "carry",
    "lut_ram": "LUT RAM",
    "block_ram": "block RAM",
    "dsp": "DSP",
}


def print_report(records: Sequence[Record]) -> None:
    """Print the records of one target."""
    # Away from a terminal rich assumes 80 columns and would cut the names.
    console = Console()
    console = console if console.is_terminal else Console(width=WIDTH)
    console.print(_asic(records) if records[0]["target"] == ASIC else _fpga(records))
    for record in records:
        for line in _lines(record):
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def _fpga(records: Sequence[Record]) -> Table:
    first = records[0]["figures"]
    part = f", {first['routed']['part']}, seed {first['routed']['seed']}" if first["routed"] else ""
    table = _table(f"{first['family']}{part}", [*(_FPGA[kind] for kind in KINDS), "device used", "Fmax MHz"])
    for record in records:
        figures = record["figures"]
        share = (figures["routed"] or {}).get("used_fraction")
        rate = figures["fmax_mhz"]
        counts = [str(figures[kind]) for kind in KINDS]
        table.add_row(
            record["module"],
            *counts,
            "-" if share is None else f"{100 * share:.1f} %",
            "-" if rate is None else f"{rate:.1f}",
        )
    return table


def _asic(records: Sequence[Record]) -> Table:
    library = ", ".join(entry["file"] for entry in records[0]["liberty"])
    columns = ["area um2", "flip-flops", "cells", "memory bits", "period ps", "Fmax MHz", "power mW"]
    table = _table(f"{library}, gates sized for {records[0]['clock_mhz']:g} MHz", columns)
    for record in records:
        figures = record["figures"]
        period, rate = figures["min_period_ps"], figures["fmax_mhz"]
        table.add_row(
            record["module"],
            f"{figures['area_um2']:.0f}",
            f"{100 * figures['sequential_share']:.1f} %",
            str(figures["cells"]),
            str(figures["memory_bits"]),
            "-" if period is None else f"{period:.0f}",
            "-" if rate is None else f"{rate:.1f}",
            _milliwatts(figures["power"]),
        )
    return table


def _milliwatts(power: Record | None) -> str:
    return f"{1e3 * power['power']['total']:.3g}" if power and power["power"] else "-"


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table(title=title)
    table.add_column("module", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right")
    return table


def _lines(record: Record) -> list[str]:
    """What the table has no room for."""
    figures, name = record["figures"], record["module"]
    lines = []
    if record["default_liberty"]:
        lines.append("library: the default, OSU's 180 nm cells (osu018); name your own with LIBERTY")
    if figures["reason"]:
        lines.append(f"{name}: no Fmax: {figures['reason']}")
    power = figures.get("power")
    if power and power["power"]:
        lines.append(f"{name}: power at {1e6 / power['period_ps']:.1f} MHz, without {', '.join(power['excluded'])}")
    elif power:
        lines.append(f"{name}: no power: {power['reason']}")
    path = figures["critical_path"] if record["target"] == ASIC else (figures["routed"] or {}).get("critical_path")
    if path:
        delays = f" (logic {path['logic_ns']} ns, routing {path['routing_ns']} ns)" if "logic_ns" in path else ""
        lines.append(f"{name}: critical path from {path['start']} to {path['end']}{delays}")
    harness = figures.get("harness")
    if harness:
        cells = ", ".join(f"{number} {kind}" for kind, number in harness.items())
        lines.append(f"{name}: not counted, but part of the share of the device: {cells} around the unit")
    return lines
