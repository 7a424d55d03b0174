"""The soak: jobs of ``soak_jobs`` for a time, totals kept, so that it goes on where it was interrupted."""

from __future__ import annotations

import dataclasses
import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from flexnm_gen.files import write_files
from flexnm_model.cache import cache_dir, digest
from flexnm_model.capture import capture
from flexnm_model.driver import DeviceError
from rich.console import Console
from rich.table import Table

from flexnm_tb.cosim.library import build_library
from flexnm_tb.fuzz.campaign import code_digest
from flexnm_tb.fuzz.case import FuzzError
from flexnm_tb.fuzz.soak_jobs import DECODE, LINEAR, Done, Soak, top_of

_SAVE_SECONDS = 5.0
_FIELDS = ("jobs", "vectors", "macs", "words", "cycles")


@dataclass
class Totals:
    """What a soak has done so far: the number of the next job, seconds, and by engine ``_FIELDS``.

    failure: what was wrong with the job ``next``; the soak stands still there.
    """

    seed: int
    next: int = 0
    seconds: float = 0.0
    engines: dict[str, dict[str, int]] = field(default_factory=dict)
    failure: str | None = None

    def add(self, done: Done) -> None:
        """Count a job."""
        row = self.engines.setdefault(done.engine, dict.fromkeys(_FIELDS, 0))
        for name, number in {**dataclasses.asdict(done), "jobs": 1}.items():
            if name in row:
                row[name] += number
        self.next += 1

    def total(self, name: str) -> int:
        """Over all engines."""
        return sum(row[name] for row in self.engines.values())


def run_soak(
    minutes: float, seed: int, *, job: int | None = None, fresh: bool = False, advance: Callable[[str, int], None]
) -> Totals:
    """Jobs until the soak has taken so many minutes, those of earlier, interrupted runs counted.

    job: only this one. advance: called with how far it is, in words, and seconds.
    Raises ConfigError, VerilatorError, and KeyboardInterrupt once the totals are safe.
    """
    torch.set_num_threads(1)
    advance("engines and layers", 0)
    soak = Soak(capture())
    names = [build_library(*top_of(name)).stem for name in (*LINEAR, *DECODE)]
    file = cache_dir() / "soak" / f"{digest(code_digest(), names, seed)}.json"
    totals = Totals(seed) if fresh or job is not None else _kept(file, seed)
    if job is not None:
        totals.next = job
        _one(soak, totals)
        return totals
    totals.failure = None
    begun, before = time.monotonic(), totals.seconds
    saved = begun
    try:
        while totals.seconds < 60 * minutes and totals.failure is None:
            _one(soak, totals)
            now = time.monotonic()
            totals.seconds = before + now - begun
            advance(f"{totals.total('jobs')} jobs, {totals.total('macs') / 1e9:.2f} G MACs", int(totals.seconds))
            if now - saved > _SAVE_SECONDS:
                _save(file, totals)
                saved = now
    finally:
        _save(file, totals)
    return totals


def _one(soak: Soak, totals: Totals) -> None:
    try:
        totals.add(soak.run(random.Random(f"{totals.seed} {totals.next}")))
    except (FuzzError, DeviceError) as error:
        totals.failure = str(error)


def _save(file: Path, totals: Totals) -> None:
    write_files(file.parent, {file.name: json.dumps(dataclasses.asdict(totals)) + "\n"})


def _kept(file: Path, seed: int) -> Totals:
    """Totals of an earlier run; a damaged file is only lost time."""
    try:
        return Totals(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return Totals(seed)


def write(totals: Totals, command: str, folder: Path) -> Path:
    """``report.json``. Returns its path."""
    content = {
        "command": command, "seed": totals.seed, "minutes": round(totals.seconds / 60, 2),
        **{name: totals.total(name) for name in _FIELDS}, "mismatches": int(totals.failure is not None),
        "failure": totals.failure, "engines": totals.engines,
    }  # fmt: skip
    write_files(folder, {"report.json": json.dumps(content, indent=2) + "\n"})
    return folder / "report.json"


def show(totals: Totals) -> None:
    """Print the table."""
    table = Table(title=f"Tiles of SmolLM2-135M-Instruct, seed {totals.seed}, {totals.seconds / 60:.1f} minutes")
    table.add_column("engine")
    for column in ("jobs", "vectors", "MACs", "results", "cycles"):
        table.add_column(column, justify="right")
    for name, row in sorted(totals.engines.items()):
        table.add_row(name, *(str(row[key]) for key in _FIELDS))
    table.add_section()
    table.add_row("all", *(str(totals.total(key)) for key in _FIELDS))
    out = Console()
    (out if out.is_terminal else Console(width=130)).print(table)
