"""What the plots of a sweep show: panels, named series of rows, Pareto fronts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from flexnm_gen.fpga_targets import FPGA_TARGETS
from flexnm_gen.synth import ASIC

from flexnm_tb.sweep.store import MEASURED, Row

Panel = tuple[str, str]
"""Target and unit: areas of different units, or in different units of area, do not share an axis."""


def panels(rows: Iterable[Row]) -> dict[Panel, list[Row]]:
    """Measured rows by target and unit, in the order in which they come."""
    found: dict[Panel, list[Row]] = {}
    for row in rows:
        if row.status == MEASURED:
            found.setdefault((row.target, row.top), []).append(row)
    return found


def title(panel: Panel) -> str:
    """``compressor, standard cells``."""
    target, top = panel
    family = "standard cells" if target == ASIC else FPGA_TARGETS[target].summary
    return f"{top.replace('mac_array', 'MAC array').replace('_', ' ')}, {family}"


def area_unit(panel: Panel) -> str:
    """Unit of ``Row.size``."""
    return "µm²" if panel[0] == ASIC else "LUTs"


_PARTS: dict[str, Callable[[Row], str | None]] = {
    "selector": lambda row: row.selector,
    "lanes": lambda row: _lanes(row),
    "array": lambda row: row.array and row.array.replace("x", " x "),
    "metadata": lambda row: row.metadata,
    "density": lambda row: f"{100 * row.n / row.m:.3g} % kept",
}


def _lanes(row: Row) -> str | None:
    if row.lanes is None:
        return None
    return "N lanes" if row.all_lanes else f"{row.lanes} lane{'s' if row.lanes > 1 else ''}"


def series(rows: Sequence[Row], *, without: Sequence[str] = ()) -> dict[str, list[Row]]:
    """Rows by everything that is not the pattern's size; a name says only what differs between them.

    ``without``: parts, of ``selector``, ``lanes``, ``array``, ``metadata``, ``density``, that do not tell series apart.
    """
    parts = [part for name, part in _PARTS.items() if name not in without]
    varied = [part for part in parts if len({part(row) for row in rows}) > 1]
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(", ".join(part(row) or "" for part in varied), []).append(row)
    return found


def pareto(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The points that none is better than: smaller first number, larger second. In ascending order of both.

    A point is out when another is at least as good in both and better in one; equal points are one.
    """
    front: list[tuple[float, float]] = []
    for cost, worth in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not front or worth > front[-1][1]:
            front.append((cost, worth))
    return front


def front_keys(rows: Sequence[Row]) -> set[str]:
    """Keys of the rows of one panel on the front of smaller area and higher throughput."""
    there = [(row, (row.size, row.gelements_per_s)) for row in rows]
    full = [(row, (size, rate)) for row, (size, rate) in there if size is not None and rate is not None]
    front = set(pareto(point for _, point in full))
    return {row.key for row, point in full if point in front}
