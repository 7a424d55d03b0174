"""What ``flexnm coverage`` says: a table by component, the points left, a page with the lines of Verilog."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from flexnm_tb.coverage.benches import Target
from flexnm_tb.coverage.functional_report import CROSSES, Functional
from flexnm_tb.coverage.points import Point, Share, share
from flexnm_tb.coverage.waivers import Waiver, uncovered

LEAST = 0.98
"""Share of lines and branches, together, that have to be covered; toggles are reported only."""
_LISTED = 40
_STYLE = (
    "body{font:14px sans-serif;margin:2em}table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.2em .6em;"
    "text-align:right}td:first-child,th:first-child{text-align:left}pre{background:#f6f6f6;padding:.6em;overflow:auto}"
    ".bad{color:#b00}.waived{color:#777}"
)


@dataclass(frozen=True)
class Covered:
    """A design's merged points, those of them that are waived, its Verilog, lines by file, and what was tried."""

    target: Target
    counts: Mapping[Point, int]
    waived: Mapping[Point, Waiver]
    sources: Mapping[str, Sequence[str]]
    tried: Functional

    @property
    def code(self) -> Share:
        """Lines and branches."""
        return share(self.counts, ("line", "branch"), self.waived)

    @property
    def toggles(self) -> Share:
        """Bits that rose, and bits that fell."""
        return share(self.counts, ("toggle",), self.waived)

    @property
    def open(self) -> list[Point]:
        """Lines and branches that are neither covered nor waived."""
        return [p for p in uncovered(self.counts) if p.kind != "toggle" and p not in self.waived]

    @property
    def passed(self) -> bool:
        """Whether enough lines and branches are covered."""
        return self.code.rate >= LEAST

    def text(self, point: Point) -> str:
        """The line of Verilog a point is on."""
        return self.sources[point.file][point.line - 1].strip()

    def record(self) -> dict[str, Any]:
        """For the JSON file."""
        kinds = {kind: share(self.counts, (kind,), self.waived) for kind in ("line", "branch", "toggle")}
        return {
            "design": self.target.name,
            "component": self.target.component,
            "seeds": list(self.target.seeds),
            **{
                kind: {"points": s.points, "covered": s.covered, "waived": s.waived, "rate": s.rate}
                for kind, s in kinds.items()
            },
            "line_and_branch_rate": self.code.rate,
            "uncovered": [f"{p.file}:{p.line}: {p.kind} {p.part}: {self.text(p)}" for p in self.open],
            "untoggled": dict(
                Counter(p.module for p in uncovered(self.counts) if p.kind == "toggle" and p not in self.waived)
            ),
            "functional": self.tried.record(),
        }


def print_report(designs: Sequence[Covered], python: Mapping[str, Any] | None) -> None:
    """The table, and each line or branch that is left."""
    table = Table(title="Coverage of the generated Verilog")
    table.add_column("design", no_wrap=True)
    for name in ("line", "branch", "line and branch", "toggle", "waived"):
        table.add_column(name, justify="right")
    tried = Table(title="What the benches tried")
    tried.add_column("design", no_wrap=True)
    for name in CROSSES.values():
        tried.add_column(name, justify="right")
    for design in designs:
        table.add_row(*_row(design))
        tried.add_row(design.target.name, *design.tried.cells())
    console = Console(width=120)
    console.print(table)
    console.print(tried)
    for design in designs:
        for point in design.open[:_LISTED]:
            text = f"{design.target.name}: {point.kind} {point.part}, line {point.line}: {design.text(point)}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)
    if python is not None:
        totals = python["totals"]
        console.print(f"Python: lines and branches {totals['percent_covered']:.1f} %", highlight=False)


def _row(design: Covered) -> list[str]:
    record = design.record()
    shares = [_percent(record[kind]) for kind in ("line", "branch")]
    code = f"{100 * design.code.rate:.2f} %"
    return [design.target.name, *shares, code, _percent(record["toggle"]), str(len(design.waived))]


def _percent(share: Mapping[str, Any]) -> str:
    return f"{100 * share['rate']:.2f} % of {share['points']}"


def page(designs: Sequence[Covered], python: Mapping[str, Any] | None) -> str:
    """The page, HTML without any other file."""
    head = "<tr><th>design<th>line<th>branch<th>line and branch<th>toggle<th>waived</tr>"
    rows = "".join(_cells(_row(design)) for design in designs)
    tried_head = f"<tr><th>design{''.join(f'<th>{name}' for name in CROSSES.values())}</tr>"
    tried = "".join(_cells([design.target.name, *design.tried.cells()]) for design in designs)
    parts = [
        f"<!doctype html><meta charset=utf-8><title>flexnm: coverage</title><style>{_STYLE}</style>",
        f"<h1>Coverage</h1><h2>Generated Verilog</h2><table>{head}{rows}</table>",
        f"<h2>What the benches tried</h2><table>{tried_head}{tried}</table>",
    ]
    for design in designs:
        lines = [f"{p.line:6} {p.kind:7} {p.part:12} {design.text(p)}" for p in design.open]
        waived = [f"{p.line:6} {p.kind:7} {design.text(p)}  # {w.reason}" for p, w in design.waived.items()]
        untoggled = design.record()["untoggled"].items()
        bits = [f"{count:6} edges of bits in {module}" for module, count in untoggled]
        parts += [f"<h3>{html.escape(design.target.name)}</h3>"]
        parts += _block("Lines and branches not covered", "bad", lines) + _block("Waived", "waived", waived)
        parts += _block("Bits that did not rise or fall", "", bits)
        parts += _block("Not tried", "", design.tried.lines())
        parts += _block("Cannot be", "waived", [f"{name}  # {why}" for name, why in design.tried.ignored.items()])
    if python is not None:
        parts.append("<h2>Python</h2>" + _python(python))
    return "\n".join(parts) + "\n"


def _cells(cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<td>{html.escape(cell)}' for cell in cells)}</tr>"


def _block(title: str, style: str, lines: Sequence[str]) -> list[str]:
    text = html.escape("\n".join(lines))
    return [f"<p>{title}: {len(lines)}</p><pre class='{style}'>{text}</pre>"] if lines else []


def _python(record: Mapping[str, Any]) -> str:
    rows = []
    for name, file in sorted(record["files"].items()):
        summary = file["summary"]
        missing = ", ".join(map(str, file["missing_lines"][:_LISTED]))
        cells = (name, summary["num_statements"], summary.get("num_branches", 0), f"{summary['percent_covered']:.1f} %")
        rows.append(_cells([str(cell) for cell in (*cells, missing)]))
    head = "<tr><th>file<th>statements<th>branches<th>covered<th>lines missing</tr>"
    return f"<table>{head}{''.join(rows)}</table>"
