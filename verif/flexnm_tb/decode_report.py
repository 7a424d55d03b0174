"""The report of a run of ``flexnm decode``: JSON for programs, one HTML file for people."""

from __future__ import annotations

import dataclasses
import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexnm_gen.files import write_files
from flexnm_rtl.config import Config

from flexnm_tb.decode_layers import DecodeRow
from flexnm_tb.decode_run import Outcome
from flexnm_tb.llm_report import STYLE, html_table

JSON_FILE, HTML_FILE = "decode.json", "decode.html"
HEADER = [
    "projection",
    "K x O",
    "rows",
    "MB read",
    "MB dense",
    "share",
    "beats",
    "cycles",
    "beats/cycles",
    "mismatches",
]


@dataclass(frozen=True)
class Totals:
    """Layers that have something in common, over all tokens. name, shapes: what they have in common.

    bytes, dense_bytes: of weights read, and of a run without pruning. The rest: as in ``DecodeRow``, added up.
    """

    name: str
    shapes: str
    layers: int
    cached: int
    bytes: int
    dense_bytes: int
    rows: int
    beats: int
    bursts: int
    cycles: int
    wait_memory: int
    wait_results: int
    words: int
    mismatches: int
    seconds: float

    @property
    def share(self) -> float:
        """Bytes read over dense bytes."""
        return self.bytes / self.dense_bytes

    @property
    def bus_use(self) -> float:
        """Beats over cycles: how busy the memory bus was from start to the last result."""
        return self.beats / self.cycles

    def cells(self) -> list[str]:
        """A line of the table under ``HEADER``."""
        traffic = [f"{self.bytes / 1e6:.2f}", f"{self.dense_bytes / 1e6:.2f}", f"{self.share:.4f}"]
        last = [str(self.beats), str(self.cycles), f"{self.bus_use:.4f}", str(self.mismatches)]
        return [self.name, self.shapes, str(self.rows), *traffic, *last]


def add_up(name: str, rows: list[DecodeRow], cfg: Config) -> Totals:
    """Totals of ``rows``, at least one."""
    shapes = dict.fromkeys(f"{row.channels} x {row.outputs}" for row in rows)
    fields = ("rows", "beats", "bursts", "cycles", "wait_memory", "wait_results", "words", "mismatches")
    sums = {field: sum(getattr(row, field) for row in rows) for field in fields}
    width = cfg.bus_width // 8
    return Totals(
        name, ", ".join(shapes), len({row.layer for row in rows}), sum(row.cached for row in rows),
        bytes=sums["beats"] * width, dense_bytes=sum(row.dense_beats for row in rows) * width,
        seconds=sum(row.seconds for row in rows), **sums,
    )  # fmt: skip


def totals(outcome: Outcome, cfg: Config) -> list[Totals]:
    """Totals of each projection, in the order in which they come, then those of everything, without shapes."""
    kinds = dict.fromkeys(row.projection for row in outcome.rows)
    lines = [add_up(kind, [row for row in outcome.rows if row.projection == kind], cfg) for kind in kinds]
    return [*lines, dataclasses.replace(add_up("all", outcome.rows, cfg), shapes="")]


def as_dict(outcome: Outcome, cfg: Config, command: str) -> dict[str, Any]:
    """The report as JSON-ready values."""
    texts = {name: {"text": made.text, "tokens": made.ids} for name, made in outcome.generations.items()}
    lines = [
        dataclasses.asdict(t) | {"read_over_dense": t.share, "beats_over_cycles": t.bus_use}
        for t in totals(outcome, cfg)
    ]
    return {
        "command": command,
        "model": outcome.model,
        "prompt": outcome.prompt,
        "prompt_tokens": outcome.prompt_tokens,
        "new_tokens": outcome.tokens,
        "engines": outcome.engines,
        "library": outcome.library,
        "pattern": outcome.pattern,
        "config": cfg.as_dict(),
        "texts": texts,
        "identical_to_model": outcome.identical,
        "mismatches": outcome.mismatches,
        "projections": lines[:-1],
        "totals": lines[-1],
        "layers": [dataclasses.asdict(row) for row in outcome.rows],
    }


def write(outcome: Outcome, cfg: Config, command: str, folder: Path) -> list[Path]:
    """Write both files into ``folder`` (made if missing) and return their paths."""
    data = json.dumps(as_dict(outcome, cfg, command), indent=2) + "\n"
    write_files(folder, {JSON_FILE: data, HTML_FILE: _page(outcome, cfg, command)})
    return [folder / JSON_FILE, folder / HTML_FILE]


def _page(outcome: Outcome, cfg: Config, command: str) -> str:
    verdict = "The RTL equals the model: every sum, every token." if outcome.good else "The RTL differs from the model."
    texts = [[name, made.text] for name, made in outcome.generations.items()]
    lines = [line.cells() for line in totals(outcome, cfg)]
    facts = (
        f"{outcome.prompt_tokens} tokens of prompt, {outcome.tokens} new ones, {html.escape(outcome.pattern)}, "
        f"a memory bus of {cfg.bus_width} bits, {outcome.engines} engines. "
        f"{sum(row.words for row in outcome.rows)} sums compared, {outcome.mismatches} mismatches."
    )
    name = html.escape(outcome.model)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>flexnm: {name} on the decode engine</title>
<style>{STYLE}</style></head><body>
<h1>{name} on the decode engine</h1>
<p class="{"good" if outcome.good else "bad"}">{verdict}</p>
<p>{facts}</p><p>Made by <code>{html.escape(command)}</code></p>
<h2>Texts</h2>{html_table(["format", "text"], texts)}
<h2>Projections</h2>{html_table(HEADER, lines)}
</body></html>
"""
