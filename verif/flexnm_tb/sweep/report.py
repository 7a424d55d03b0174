"""The page of a sweep: one HTML file with three plots and a table that sorts, no network, no date."""

from __future__ import annotations

import base64
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from flexnm_gen.synth import ASIC

from flexnm_tb.sweep.environment import Environment
from flexnm_tb.sweep.figures import area_an_element, area_and_loss, area_and_throughput
from flexnm_tb.sweep.perplexity import DENSE, Perplexities
from flexnm_tb.sweep.series import front_keys, panels
from flexnm_tb.sweep.store import FAILED, INVALID, MEASURED, Row

HTML_FILE = "sweep.html"
_THIN = "\N{NARROW NO-BREAK SPACE}"
Cell = str | int | float | None

_NUMBERS = {
    "area_um2": "area, µm²",
    "sequential_area_um2": "sequential, µm²",
    "cells": "cells",
    "memory_bits": "memory, bits",
    "luts": "LUTs",
    "flip_flops": "flip-flops",
    "carry": "carry",
    "lut_ram": "LUT RAM",
    "block_ram": "block RAM",
    "dsp": "DSP",
    "fmax_mhz": "Fmax, MHz",
    "elements_per_cycle": "elements a cycle",
    "gelements_per_s": "10⁹ elements/s",
    "area_per_element": "area an element",
}
_TEXTS = {
    "top": "unit",
    "target": "target",
    "pattern": "pattern",
    "selector": "selector",
    "metadata": "metadata",
    "lanes": "lanes",
    "array": "array",
}


@dataclass(frozen=True)
class Report:
    """What the page says. ``axes``: settings of the sweep, by name."""

    rows: Sequence[Row]
    axes: Mapping[str, str]
    environments: Mapping[str, Environment]
    perplexities: Perplexities


def page(report: Report) -> str:
    """The whole HTML text; equal data give equal bytes."""
    counts = {name: sum(row.status == name for row in report.rows) for name in (MEASURED, INVALID, FAILED)}
    summary = ", ".join(f"{number} {name}" for name, number in counts.items() if number or name == MEASURED)
    folder = files("flexnm_tb.sweep")
    style, script = (folder.joinpath(name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>flexnm: design space</title><style>
{style}</style></head><body>
<h1>Design space of N:M activation sparsity</h1>
<p>{len(report.rows)} designs: {summary}. <a href="#settings">Settings and tools</a></p>
{_plots(report)}<h2 id="table">All designs</h2>
<p>A click on a heading sorts, a second one the other way round. {_note(report)}</p>
{_table(report)}{_settings(report)}<script>
{script}</script></body></html>
"""


def _plots(report: Report) -> str:
    unknown = dict.fromkeys(row.pattern for row in report.rows if report.perplexities.loss(row.pattern) is None)
    missing = f" No perplexity is known for {', '.join(unknown)}." if unknown else ""
    loss = (
        "Loss is ln(perplexity / dense perplexity) of the pattern, activations pruned by magnitude: "
        f"{report.perplexities.source}.{missing} The dashed line is the least loss for the area."
    )
    size = "An element is a channel of a dense block or, for an array, a product of the dense matrix product."
    front = "Throughput is elements a cycle at the highest clock rate. The dashed line is the Pareto front."
    plots = [
        ("element", "Area an element against M", area_an_element(report.rows), size),
        ("throughput", "Area against throughput", area_and_throughput(report.rows), front),
        ("loss", "Loss of accuracy against area", area_and_loss(report.rows, report.perplexities), loss),
    ]
    return "".join(_figure(*plot) for plot in plots)


def _figure(name: str, title: str, svg: str, text: str) -> str:
    source = f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"
    image = f'<img alt="{title}" src="{source}">' if svg else "<p>No design has these figures.</p>"
    return f'<h2>{title}</h2>\n<figure id="{name}">{image}<figcaption>{html.escape(text)}</figcaption></figure>\n'


def _note(report: Report) -> str:
    units = {"µm²" if row.target == ASIC else "LUTs" for row in report.rows}
    return (
        f"Area an element: {' or '.join(sorted(units))} for an element a cycle. Green: on the Pareto front of area and "
        "throughput, among designs of the same unit and target."
    )


def _table(report: Report) -> str:
    """Columns that hold nothing, or only zeros, are left out. Numbers have all their digits in ``data-value``."""
    fronts = {key for rows in panels(report.rows).values() for key in front_keys(rows)}
    columns: list[tuple[str, list[Cell]]] = [
        (heading, [getattr(row, name) for row in report.rows]) for name, heading in (_TEXTS | _NUMBERS).items()
    ]
    columns += [
        ("loss, nats", [report.perplexities.loss(row.pattern) for row in report.rows]),
        ("front", ["yes" if row.key in fronts else None for row in report.rows]),
        ("status", [row.status for row in report.rows]),
        ("remark", [row.reason for row in report.rows]),
    ]
    filled = [(name, cells) for name, cells in columns if any(cells)]
    head = "".join(f'<th scope="col"><button type="button">{html.escape(name)}</button></th>' for name, _ in filled)
    lines = []
    for row, cells in zip(report.rows, zip(*(cells for _, cells in filled), strict=True), strict=True):
        kind = f"{row.status} front" if row.key in fronts else row.status
        lines.append(f'<tr class="{kind}">{"".join(map(_cell, cells))}</tr>\n')
    return f"""<div class="wide"><table id="designs"><thead><tr>{head}</tr></thead>
<tbody>
{"".join(lines)}</tbody></table></div>
"""


def _cell(value: Cell) -> str:
    if value is None:
        return "<td></td>"
    if isinstance(value, str):
        kind = ' class="long"' if len(value) > 40 else ""
        return f"<td{kind}>{html.escape(value)}</td>"
    text = f"{value:,d}" if isinstance(value, int) else _plain(value)
    return f'<td class="n" data-value="{value!r}">{text.replace(",", _THIN)}</td>'


def _plain(value: float) -> str:
    """Four digits or more, no exponent; whole numbers as such."""
    digits = 0 if value.is_integer() else max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def _settings(report: Report) -> str:
    lines: list[tuple[str, str]] = [(name.upper(), text) for name, text in report.axes.items()]
    for target, environment in report.environments.items():
        lines.append((target, _shared(environment.shared)))
    values = ", ".join(f"{name} {value:g}" for name, value in report.perplexities.values.items() if name != DENSE)
    dense = f"{DENSE} {report.perplexities.values[DENSE]:g}"
    lines.append(("perplexity", f"{dense}, {values} ({report.perplexities.source})"))
    body = "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(text)}</dd>\n" for name, text in lines)
    return f'<h2 id="settings">Settings and tools</h2>\n<dl>\n{body}</dl>\n'


def _shared(shared: Mapping[str, Any]) -> str:
    library = ", ".join(f"{entry['file']} (SHA-256 {entry['sha256'][:12]}…)" for entry in shared["liberty"])
    parts = [f"aim {shared['clock_mhz']:g} MHz", library]
    parts += [f"device {shared['device'] or 'default'}, seed {shared['seed']}"] if not library else []
    parts.append(", ".join(f"{name} {version}" for name, version in shared["tools"].items()))
    return "; ".join(part for part in parts if part)
