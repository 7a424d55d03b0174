"""The table of ``bench/selection.py``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table

Row = dict[str, Any]

SAME = ("pattern", "n", "from", "clock_ps")
"""What rows that can be compared have in common."""


def add_ratios(rows: list[Row]) -> None:
    """``over_ours``: None where flexnm's own was not measured."""
    own = {tuple(row[key] for key in SAME): row["area"] for row in rows if row["ours"]}
    for row in rows:
        base = own.get(tuple(row[key] for key in SAME))
        row["over_ours"] = row["area"] / base if base else None


def table_of(rows: Sequence[Row], title: str) -> Table:
    """The rows by pattern, kind of N, input and clock; ``*`` marks flexnm's own, ``!`` a clock that is missed."""
    table = Table(title=title)
    columns = ("area", "sequential", "period ps", "latency", "area/element", "over ours", "recipe")
    for column in ("pattern", "N", "from", "clock ps", "unit", *columns):
        table.add_column(column, justify="left" if column in ("pattern", "N", "from", "unit", "recipe") else "right")
    order = sorted(rows, key=lambda row: (len(row["pattern"]), *(row[key] for key in (*SAME, "area"))))
    for last, row in zip([None, *order], order, strict=False):
        if last and any(row[key] != last[key] for key in SAME):
            table.add_section()
        late = " !" if row["period_ps"] > row["clock_ps"] else ""
        table.add_row(
            *(row["pattern"], row["n"], row["from"], f"{row['clock_ps']:g}"),
            f"{row['unit']} *" if row["ours"] else row["unit"],
            *(f"{row['area']:.1f}", f"{row['sequential']:.1f}", f"{row['period_ps']:.0f}{late}"),
            *(str(row["latency"]), f"{row['area_element']:.2f}"),
            "-" if row["over_ours"] is None else f"{row['over_ours']:.2f}",
            row["recipe"],
        )
    return table
