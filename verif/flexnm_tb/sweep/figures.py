"""The three plots of a sweep, as SVG: area an element, area and throughput, area and loss of accuracy."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, LogLocator, MaxNLocator, NullFormatter, NullLocator

from flexnm_tb.sweep.perplexity import Perplexities
from flexnm_tb.sweep.series import Panel, area_unit, panels, pareto, series, title
from flexnm_tb.sweep.store import Row

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a4f9a", "#666666")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
_FRONT: dict[str, Any] = {"color": "#222222", "linewidth": 1.2, "linestyle": "--", "zorder": 2}
_STYLE: Any = {
    "svg.hashsalt": "flexnm",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
}

Spot = tuple[Row, float, float]
"""A row, and where it lies."""


def area_an_element(rows: Sequence[Row]) -> str:
    """Area over the elements of a cycle, against M: a line for each way to build the unit."""

    def draw(axes: Axes, panel: Panel, spots: Sequence[Spot]) -> None:
        heights = {row.key: y for row, _, y in spots}
        lines = series([row for row, _, _ in spots])
        for index, (name, members) in enumerate(lines.items()):
            line = sorted((row.m, heights[row.key]) for row in members)
            colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
            axes.plot(*zip(*line, strict=True), color=colour, marker=marker, label=name)
        _ticks(axes, sorted({row.m for row, _, _ in spots}))
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(_number)
        axes.set_xlabel("M, channels in a block")
        axes.set_ylabel(f"area an element a cycle, {area_unit(panel)}")
        if len(lines) > 1:
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1))

    return _svg([(row, float(row.m), row.area_per_element) for row in rows], draw)


def area_and_throughput(rows: Sequence[Row]) -> str:
    """Colours are patterns, markers ways to build the unit; the line is the front of less area and more throughput."""

    def draw(axes: Axes, panel: Panel, spots: Sequence[Spot]) -> None:
        front = pareto((size, rate) for _, rate, size in spots)
        axes.step([rate for _, rate in front], [size for size, _ in front], where="pre", **_FRONT)
        _scatter(axes, spots, "least area for the throughput")
        _log(axes, "x")
        _log(axes, "y")
        axes.set_xlabel("throughput, 10⁹ elements/s")
        axes.set_ylabel(f"area, {area_unit(panel)}")

    return _svg([(row, row.gelements_per_s, row.size) for row in rows], draw)


def area_and_loss(rows: Sequence[Row], perplexities: Perplexities) -> str:
    """Likewise, with the pattern's loss of accuracy; patterns without a perplexity are not there."""

    def draw(axes: Axes, panel: Panel, spots: Sequence[Spot]) -> None:
        front = pareto((size, -loss) for _, size, loss in spots)
        axes.step([size for size, _ in front], [-worth for _, worth in front], where="post", **_FRONT)
        _scatter(axes, spots, "least loss for the area")
        losses = [loss for _, _, loss in spots]
        axes.set_xlim(left=0)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(_number)
        axes.set_ylim(1.1 * min(0.0, *losses), 1.1 * max(0.0, *losses) or 1.0)
        axes.set_xlabel(f"area an element a cycle, {area_unit(panel)}")
        axes.set_ylabel("loss of accuracy, nats a token")

    return _svg([(row, row.area_per_element, perplexities.loss(row.pattern)) for row in rows], draw)


def _svg(
    places: Iterable[tuple[Row, float | None, float | None]], draw: Callable[[Axes, Panel, list[Spot]], None]
) -> str:
    """A figure with a panel for each target and unit that has places; empty without any."""
    spots = {row.key: (row, x, y) for row, x, y in places if x is not None and y is not None}
    grouped = panels(row for row, _, _ in spots.values())
    if not grouped:
        return ""
    columns = min(2, len(grouped))
    lines = -(-len(grouped) // columns)
    with rc_context(_STYLE):
        figure = Figure(figsize=(6.8 * columns, 3.9 * lines), layout="constrained")
        for index, (panel, members) in enumerate(grouped.items()):
            axes = figure.add_subplot(lines, columns, index + 1)
            draw(axes, panel, [spots[row.key] for row in members])
            axes.set_title(title(panel), loc="left", fontweight="bold")
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue().decode()


def _scatter(axes: Axes, spots: Sequence[Spot], front: str) -> None:
    """Points and their legend."""
    patterns = list(dict.fromkeys(row.pattern for row, _, _ in spots))
    colours = {pattern: COLOURS[index % len(COLOURS)] for index, pattern in enumerate(patterns)}
    kinds = series([row for row, _, _ in spots], without=["density"])
    markers = {row.key: MARKERS[index % len(MARKERS)] for index, rows in enumerate(kinds.values()) for row in rows}
    for row, x, y in spots:
        axes.plot(x, y, markers[row.key], color=colours[row.pattern], markeredgecolor="white", markersize=8, zorder=3)
    look: dict[str, Any] = {"linestyle": "", "markeredgecolor": "white", "markersize": 8}
    handles = [Line2D([], [], **_FRONT, label=front)]
    handles += [Line2D([], [], **look, marker="o", color=colour, label=name) for name, colour in colours.items()]
    shapes = {name: markers[rows[0].key] for name, rows in kinds.items() if name}
    handles += [Line2D([], [], **look, marker=shape, color="#888888", label=name) for name, shape in shapes.items()]
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(1, 1))


def _ticks(axes: Axes, places: Sequence[int]) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(_number)


def _number(value: float, _place: float) -> str:
    return f"{value:,.12g}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def _log(axes: Axes, which: str) -> None:
    """A logarithmic axis with plain numbers: at 1, 2 and 5 of every decade."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(_number)
    axis.set_minor_formatter(NullFormatter())
