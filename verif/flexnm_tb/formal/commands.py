"""The command ``flexnm formal``."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import click
from flexnm_gen.files import check_folder, write_files
from flexnm_rtl.config import ConfigError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flexnm_tb.formal.catalogue import chosen_proofs
from flexnm_tb.formal.proof import Proof
from flexnm_tb.formal.runner import PROVED, Outcome, Runner, report

TABLE_WIDTH = 130
TIMEOUT = 300
"""Seconds a proof may take unless told otherwise."""


@click.command()
@click.option("--only", metavar="TEXT", help="Only proofs whose name contains it.")
@click.option("--jobs", type=int, metavar="NUMBER", help="Proofs at a time.  [default: one a CPU]")
@click.option("--timeout", default=TIMEOUT, show_default=True, help="Seconds that a proof may take.")
@click.option("--fresh", is_flag=True, help="Use no results of earlier runs.")
@click.option("--out", default="build/formal", show_default=True, metavar="FOLDER", help="Folder for the results.")
def formal(only: str | None, jobs: int | None, timeout: int, fresh: bool, out: str) -> int:
    """Prove properties of the generated RTL with SymbiYosys.

    Writes OUT/report.json, and for a failure its counterexample as a VCD file. What is proved is kept: an interrupted
    run goes on where it was. Exit status 1 when anything is not proved.
    """
    for name, value in (("JOBS", jobs), ("TIMEOUT", timeout)):
        if value is not None and value < 1:
            raise ConfigError(f"{name}={value} is out of range: it must be at least 1")
    check_folder(out, "results")
    runner = Runner(Path(out), timeout=timeout, fresh=fresh)
    outcomes = _run(runner, chosen_proofs(only), jobs or len(os.sched_getaffinity(0)))
    write_files(Path(out), {"report.json": report(outcomes, runner.versions)})
    console = Console()
    # Away from a terminal rich assumes 80 columns and would cut the names.
    (console if console.is_terminal else Console(width=TABLE_WIDTH)).print(_table(outcomes))
    for outcome in outcomes:
        if outcome.result != PROVED:
            click.echo(f"{outcome.name}: {outcome.result}: {outcome.trace or outcome.note}")
    counts = Counter(outcome.result for outcome in outcomes)
    click.echo(", ".join(f"{count} {result}" for result, count in counts.items()))
    click.echo(str(Path(out, "report.json")))
    return 0 if set(counts) == {PROVED} else 1


def _run(runner: Runner, proofs: list[Proof], jobs: int) -> list[Outcome]:
    """All outcomes, with a bar on standard error, or a line for each proof away from a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:50}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(proofs))

        def done(outcome: Outcome) -> None:
            progress.update(task, advance=1, description=outcome.name)
            if not console.is_terminal:
                kept = " (kept)" if outcome.kept else ""
                line = f"{outcome.name}: {outcome.result}, {outcome.seconds} s{kept}"
                console.print(line, highlight=False, soft_wrap=True)

        return runner.run(proofs, jobs, done)


def _table(outcomes: list[Outcome]) -> Table:
    table = Table(title="Formal proofs")
    table.add_column("proof", overflow="fold")
    for column in ("mode", "engine"):
        table.add_column(column)
    table.add_column("seconds", justify="right")
    table.add_column("result")
    for outcome in outcomes:
        seconds = f"{outcome.seconds:.1f}{' *' if outcome.kept else ''}"
        table.add_row(outcome.name, outcome.mode, outcome.engine, seconds, outcome.result)
    if any(outcome.kept for outcome in outcomes):
        table.caption = "* result of an earlier run (same circuit, question and tools)"
    return table
