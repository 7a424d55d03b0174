"""Cycles of the linear engine on layers of LLMs against the ideal: ``python bench engine_cycles``.

The compiled engine runs whole layers of random numbers, its streams never pausing; every result is compared with the
software model. ``ideal``: cycles in which the array multiplies, ceil(T/rows) * ceil(O/cols) * ceil(K/M) * N/lanes.
``fill``: cycles before the first multiplication and through the array, ``drain``: in which the last group's results
leave, both as stated by ``flexnm_tb.engine_cycles``; ``stalls``: what is lost in between.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path

from flexnm_rtl.presets import preset
from flexnm_tb.cosim.engine import SimulatedEngine
from flexnm_tb.cosim.job_cycles import JobCycles, job_cycles
from rich.console import Console
from rich.progress import track
from rich.table import Table

TARGET, TARGET_TOKENS = 1.02, 64
LAYERS: dict[str, tuple[tuple[int, int], ...]] = {  # (K, O)
    "SmolLM2-135M": ((576, 576), (576, 192), (576, 1536), (1536, 576)),
    "Llama-3.1-8B": ((4096, 4096), (4096, 1024), (4096, 14336), (14336, 4096)),
}


def table_of(rows: list[tuple[str, JobCycles]], title: str) -> Table:
    """One line for every model, layer and number of tokens."""
    table = Table(title=title)
    for column in ("model", "K x O", "T", "ideal", "cycles", "cycles / ideal", "fill", "drain", "stalls"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for model, row in rows:
        numbers = (row.tokens, row.ideal, row.cycles, f"{row.ratio:.4f}", row.fill, row.drain, row.stalls)
        table.add_row(model, f"{row.channels} x {row.outputs}", *map(str, numbers))
    return table


def main() -> int:
    """Run the layers, print the table, write the JSON if asked; exit status 1 when the target is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--preset", default="n8m16-serial")
    parser.add_argument("--tokens", default="1,8,64", help="numbers of tokens")
    parser.add_argument("--model", choices=LAYERS, help="layers of this model only")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    cfg = preset(options.preset)
    models = [options.model] if options.model else list(LAYERS)
    cases = [
        (model, tokens, *layer)
        for model in models
        for layer in LAYERS[model]
        for tokens in map(int, options.tokens.split(","))
    ]
    rows = []
    with SimulatedEngine(cfg) as engine:
        for model, *shape in track(cases, "layers", console=Console(stderr=True)):
            rows.append((model, job_cycles(engine, *shape)))
    Console(width=120).print(table_of(rows, f"Cycles of the linear engine, {options.preset}"))
    missed = [row for _, row in rows if row.tokens >= TARGET_TOKENS and row.ratio > TARGET]
    print(f"target at T >= {TARGET_TOKENS}: cycles <= {TARGET} x ideal; missed by {len(missed)} layers")
    if options.json:
        lines = [{"model": model, **dataclasses.asdict(row), "stalls": row.stalls} for model, row in rows]
        options.json.write_text(json.dumps({"config": cfg.as_dict(), "rows": lines}, indent=2) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
