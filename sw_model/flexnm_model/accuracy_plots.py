"""Plots of losses: against the pattern, and of every method beside each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flexnm_model.accuracy_statistics import Loss
from flexnm_model.methods import Method

PATTERNS = ("2:4", "4:8", "8:16", "16:32", "50%")


def plot(losses: Mapping[str, Loss], measure: str, file: Path) -> Path:
    """Write an SVG: left, loss against the pattern; right, all methods from the smallest loss to the largest."""
    others = sorted((name for name in losses if Method.parse(name) != Method()), key=lambda name: losses[name].value)
    with rc_context({"svg.hashsalt": "flexnm", "svg.fonttype": "none"}):
        figure = Figure(figsize=(11, 1.6 + 0.26 * max(8, len(others))), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(2, 3))
        _patterns(left, losses)
        _methods(right, others, losses)
        for axes in (left, right):
            axes.spines[["top", "right"]].set_visible(False)
        left.set_ylabel(f"loss, {measure}")
        right.set_xlabel(f"loss, {measure}; lines: 95 % intervals")
        figure.savefig(file, metadata={"Date": None})
    return file


def _patterns(axes: Axes, losses: Mapping[str, Loss]) -> None:
    """One line for each thing done besides choosing the pattern, if at least two patterns have it."""
    families: dict[str, list[tuple[int, str]]] = {}
    for name in losses:
        pattern = next((p for p in PATTERNS if name.removeprefix("w").startswith(p)), None)
        if pattern is not None:
            family = name.replace(pattern, "", 1)
            families.setdefault(family, []).append((PATTERNS.index(pattern), name))
    lines = {family: sorted(members) for family, members in families.items() if len(members) >= 2}
    for family, members in lines.items():
        label = {"": "magnitude", "w": "weights"}.get(family, family.lstrip("+"))
        names = [name for _, name in members]
        values = [losses[name].value for name in names]
        axes.errorbar([x for x, _ in members], values, _bars(names, losses), marker="o", capsize=3, label=label)
    if lines:
        axes.legend(frameon=False)
    axes.set_xticks(range(len(PATTERNS)), PATTERNS)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))


def _methods(axes: Axes, names: Sequence[str], losses: Mapping[str, Loss]) -> None:
    values = [losses[name].value for name in names]
    axes.barh(range(len(names)), values, xerr=_bars(names, losses), color="#8fb4d9", error_kw={"lw": 1})
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()


def _bars(names: Sequence[str], losses: Mapping[str, Loss]) -> list[list[float]]:
    """Lengths of the error bars, below and above."""
    found = [losses[name].estimate for name in names]
    # A bootstrap's interval may just miss the measured number.
    return [[max(0.0, e.value - e.low) for e in found], [max(0.0, e.high - e.value) for e in found]]
