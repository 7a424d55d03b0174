"""The report of a run of ``flexnm llm``: JSON for programs, one HTML file with plots for people."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexnm_gen.files import write_files
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from flexnm_tb.llm_layers import LayerRow
from flexnm_tb.llm_run import Outcome

JSON_FILE, HTML_FILE = "llm.json", "llm.html"
WAITS = ("wait_acts", "wait_weights", "wait_results")

STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:68rem;margin:2rem auto;padding:0 1rem;color:#222}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;margin:1rem 0}
th,td{padding:.15rem .7rem;text-align:right;border-bottom:1px solid #ddd}th:first-child,td:first-child{text-align:left}
.bad{color:#b00020;font-weight:bold}.good{color:#1b7837}img{max-width:100%}"""


@dataclass(frozen=True)
class Totals:
    """Layers that have something in common, added up. name, shapes: what they have in common."""

    name: str
    shapes: str
    layers: int
    cached: int
    cycles: int
    ideal: int
    busy_cycles: int
    wait_acts: int
    wait_weights: int
    wait_results: int
    words: int
    mismatches: int
    seconds: float

    @property
    def ratio(self) -> float:
        """Cycles over ideal cycles."""
        return self.cycles / self.ideal

    @property
    def utilisation(self) -> float:
        """Share of the cycles in which the array worked."""
        return self.busy_cycles / self.cycles


def add_up(name: str, rows: list[LayerRow]) -> Totals:
    """Totals of ``rows``, at least one."""
    shapes = dict.fromkeys(f"{row.channels} x {row.outputs}" for row in rows)
    fields = ("cycles", "ideal", "busy_cycles", *WAITS, "words", "mismatches")
    sums = {field: sum(getattr(row, field) for row in rows) for field in fields}
    cached = sum(row.cached for row in rows)
    seconds = sum(row.seconds for row in rows)
    return Totals(name, ", ".join(shapes), len(rows), cached, seconds=seconds, **sums)


def kind(row: LayerRow) -> str:
    """``layers.3.mlp.up_proj`` -> ``mlp.up_proj``."""
    return row.layer.split(".", 2)[2]


def by_kind(rows: list[LayerRow]) -> list[Totals]:
    """Totals of each projection, in the order in which they come."""
    kinds = dict.fromkeys(kind(row) for row in rows)
    return [add_up(name, [row for row in rows if kind(row) == name]) for name in kinds]


def as_dict(outcome: Outcome, command: str) -> dict[str, Any]:
    """The report as JSON-ready values."""
    total = add_up("all", outcome.rows)
    derived = {"cycles_over_ideal": total.ratio, "utilisation": total.utilisation}
    layers = [
        dataclasses.asdict(row)
        | {"cycles_over_ideal": row.cycles / row.ideal, "utilisation": row.busy_cycles / row.cycles}
        for row in outcome.rows
    ]
    return {
        "command": command,
        "model": outcome.model,
        "tokens": outcome.tokens,
        "engines": outcome.engines,
        "method": outcome.method,
        "libraries": {name: cfg.as_dict() for name, cfg in outcome.libraries.items()},
        "perplexity": outcome.perplexity,
        "identical_to_model": outcome.identical,
        "totals": dataclasses.asdict(total) | derived | {"cycles_per_second": total.cycles / total.seconds},
        "layers": layers,
    }


def write(outcome: Outcome, command: str, folder: Path) -> list[Path]:
    """Write both files into ``folder`` (made if missing) and return their paths."""
    data = json.dumps(as_dict(outcome, command), indent=2) + "\n"
    write_files(folder, {JSON_FILE: data, HTML_FILE: _page(outcome, command)})
    return [folder / JSON_FILE, folder / HTML_FILE]


def _page(outcome: Outcome, command: str) -> str:
    total = add_up("all", outcome.rows)
    verdict = "The RTL equals the model, bit for bit." if outcome.good else "The RTL differs from the model."
    facts = (
        f"{html.escape(outcome.model)}, {outcome.tokens} tokens, {html.escape(outcome.method)}, {outcome.array}, "
        f"{total.layers} layers "
        f"({total.cached} from an earlier run), {outcome.engines} engines. {total.words} sums compared, "
        f"{total.mismatches} mismatches. {total.cycles} cycles, {total.ratio:.4f} of the ideal number, "
        f"{total.cycles / total.seconds:.0f} simulated cycles/s."
    )
    losses = [[name, f"{value:.6f}"] for name, value in outcome.perplexity.items()]
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>flexnm: {html.escape(outcome.model)} on the RTL</title>
<style>{STYLE}</style></head><body>
<h1>{html.escape(outcome.model)} on the RTL</h1>
<p class="{"good" if outcome.good else "bad"}">{verdict}</p>
<p>{facts}</p><p>Made by <code>{html.escape(command)}</code></p>
<h2>Perplexity on these tokens</h2>{html_table(["format", "perplexity"], losses)}{_plot(_perplexity, outcome)}
<h2>Projections</h2>{_plot(_ratios, outcome)}{_plot(_overhead, outcome)}
<h2>Layers</h2>{_plot(_cycles, outcome)}{_layer_table(outcome.rows)}
</body></html>
"""


def _layer_table(rows: list[LayerRow]) -> str:
    header = ["layer", "pattern", "tokens", "K", "O", "jobs", "cycles", "ideal", "cycles/ideal", "utilisation"]
    header += ["wait acts", "wait weights", "wait results", "mismatches", "compression", "cached"]
    lines = []
    for row in rows:
        numbers: list[object] = [row.tokens, row.channels, row.outputs, row.jobs, row.cycles, row.ideal]
        shares = [f"{row.cycles / row.ideal:.4f}", f"{row.busy_cycles / row.cycles:.4f}"]
        waits = [row.wait_acts, row.wait_weights, row.wait_results]
        last = [row.mismatches, f"{row.compression:.3f}", "yes" if row.cached else ""]
        lines.append([row.layer, row.pattern, *map(str, [*numbers, *shares, *waits, *last])])
    return html_table(header, lines)


def html_table(header: list[str], lines: list[list[str]]) -> str:
    """A table element; texts are escaped."""

    def cells(tag: str, texts: list[str]) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts) + "</tr>\n"

    return "<table>\n" + cells("th", header) + "".join(cells("td", line) for line in lines) + "</table>\n"


def _plot(draw: Any, outcome: Outcome) -> str:
    """An image element with what ``draw(axes, outcome)`` draws."""
    with rc_context({"svg.hashsalt": "flexnm", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure = Figure(figsize=(9, 3.2), layout="constrained")
        axes = figure.add_subplot()
        draw(axes, outcome)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None})
    text = html.escape(axes.get_title())
    return f'<p><img alt="{text}" src="data:image/svg+xml;base64,{base64.b64encode(file.getvalue()).decode()}"></p>\n'


def _perplexity(axes: Axes, outcome: Outcome) -> None:
    bars = axes.barh(list(outcome.perplexity), list(outcome.perplexity.values()), color="#4477aa")
    axes.bar_label(bars, fmt="%.3f", padding=3)
    axes.margins(x=0.1)
    axes.invert_yaxis()
    axes.set_title("Perplexity")


def _ratios(axes: Axes, outcome: Outcome) -> None:
    kinds = by_kind(outcome.rows)
    bars = axes.barh([t.name for t in kinds], [100 * (t.ratio - 1) for t in kinds], color="#228833")
    axes.bar_label(bars, fmt="%.3f %%", padding=3)
    axes.margins(x=0.1)
    axes.invert_yaxis()
    axes.set_title("Cycles above the ideal number, in per cent")


def _overhead(axes: Axes, outcome: Outcome) -> None:
    kinds = by_kind(outcome.rows)
    names = [t.name for t in kinds]
    left = [0.0] * len(kinds)
    colours = ("#4477aa", "#ee6677", "#ccbb44", "#bbbbbb")
    for field, colour in zip((*WAITS, "fill and drain"), colours, strict=True):
        values = [_idle(t, field) / t.layers for t in kinds]
        axes.barh(names, values, left=left, label=field.replace("_", " for "), color=colour)
        left = [a + b for a, b in zip(left, values, strict=True)]
    axes.invert_yaxis()
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set_title("Cycles of a layer in which the array does not work")


def _idle(total: Totals, field: str) -> int:
    if field in WAITS:
        return int(getattr(total, field))
    waits = total.wait_acts + total.wait_weights + total.wait_results
    return max(0, total.cycles - total.busy_cycles - waits)


def _cycles(axes: Axes, outcome: Outcome) -> None:
    for name in dict.fromkeys(kind(row) for row in outcome.rows):
        points = [(index, row.cycles / 1000) for index, row in enumerate(outcome.rows) if kind(row) == name]
        axes.plot(*zip(*points, strict=True), ".", label=name)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("layer, in the order of the table")
    axes.set_ylabel("thousand cycles")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set_title("Cycles")
