"""The report of a fuzz campaign: a table, and JSON."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path

from flexnm_gen.files import write_files
from rich.console import Console
from rich.table import Table

from flexnm_tb.fuzz.campaign import Outcome

_TOTALS = ("jobs", "good", "steps")
_WIDTH = 150


def write(outcome: Outcome, command: str, folder: Path) -> Path:
    """``report.json``, and ``failed.json`` when a case failed. Returns the path of the report."""
    content = {
        "command": command,
        "seed": outcome.seed,
        "jobs": outcome.jobs,
        "chunks": outcome.chunks,
        "cached_chunks": outcome.cached,
        "seconds": round(outcome.seconds, 1),
        "failure": dataclasses.asdict(outcome.failure) if outcome.failure else None,
        "counts": {config: {name: n for name, n in sorted(c.items()) if n} for config, c in outcome.counts.items()},
    }
    files = {"report.json": json.dumps(content, indent=2) + "\n"}
    if outcome.failure:
        files["failed.json"] = json.dumps(dataclasses.asdict(outcome.failure), indent=2) + "\n"
    else:
        (folder / "failed.json").unlink(missing_ok=True)
    write_files(folder, files)
    return folder / "report.json"


def show(outcome: Outcome) -> None:
    """Print the table: kinds of bad traffic by engine."""
    linear, decode = Counter[str](), Counter[str]()
    for config, counts in outcome.counts.items():
        (decode if config.startswith("decode") else linear).update(counts)
    table = Table(title=f"Bad traffic, seed {outcome.seed}, {len(outcome.counts)} configurations")
    table.add_column("what was bad")
    for column in ("linear", "decode", "all"):
        table.add_column(column, justify="right")
    both = linear + decode
    for name in sorted(name for name in both if name not in _TOTALS):
        table.add_row(name, str(linear[name]), str(decode[name]), str(both[name]))
    table.add_section()
    table.add_row("good jobs after them, bit-exact", str(linear["good"]), str(decode["good"]), str(both["good"]))
    table.add_row("jobs in all", str(linear["jobs"]), str(decode["jobs"]), str(both["jobs"]))
    out = Console()
    (out if out.is_terminal else Console(width=_WIDTH)).print(table)
