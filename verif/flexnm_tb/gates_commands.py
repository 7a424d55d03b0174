"""The command ``flexnm gates``."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click
from flexnm_gen.files import check_folder, write_files
from flexnm_gen.liberty import split_files
from flexnm_gen.synth import ASIC, prepare
from flexnm_model.cache import cache_dir, digest
from flexnm_model.commands import progress_bar
from flexnm_rtl.config import ConfigError
from rich.console import Console
from rich.table import Table

from flexnm_tb.gates import DESIGNS, TARGETS, Outcome, benches, run
from flexnm_tb.mutation.code import Benches
from flexnm_tb.mutation.components import Component, chosen_names
from flexnm_tb.verilator import VerilatorError

TARGET_LIST = f"ecp5,{ASIC}"


@click.command()
@click.option("--only", default="", metavar="NAMES", help=f"Units, of {', '.join(DESIGNS)}.  [default: all]")
@click.option("--targets", default=TARGET_LIST, show_default=True, metavar="NAMES", help=f"Of {', '.join(TARGETS)}.")
@click.option("--liberty", default="", metavar="FILES", help="asic: files of one library, separated by blanks.")
@click.option("--fresh", is_flag=True, help="Use no results of earlier runs.")
@click.option("--out", default="build/gates", show_default=True, metavar="FOLDER", help="Folder for the report.")
def gates(only: str, targets: str, liberty: str, fresh: bool, out: str) -> int:
    """Run the benches of the units on their netlists: FPGA cells or standard cells in place of the RTL.

    Writes OUT/gates.json. If interrupted, run it again: finished netlists are kept. Exit status 1 when a test fails.
    """
    check_folder(out, "report")
    names, wanted = chosen_names(only, DESIGNS, "ONLY"), chosen_names(targets, TARGETS, "TARGETS")
    files = split_files(liberty)
    if files and ASIC not in wanted:
        raise ConfigError(f"LIBERTY is for the target {ASIC}: leave it out for an FPGA")
    found = []
    try:
        with progress_bar() as progress:
            task = progress.add_task("netlists", total=len(names) * len(wanted))
            for name in names:
                for target in wanted:
                    progress.update(task, description=f"{name} as {target}")
                    found.append(_kept(DESIGNS[name], target, files, fresh))
                    progress.advance(task)
    except VerilatorError as error:
        click.echo(f"flexnm: error: {error}", err=True)
        return 1
    write_files(Path(out), {"gates.json": json.dumps([asdict(outcome) for outcome in found], indent=2) + "\n"})
    _print(found)
    click.echo(str(Path(out, "gates.json")))
    return 1 if any(outcome.failure for outcome in found) else 0


def _kept(component: Component, target: str, liberty: list[Path], fresh: bool) -> Outcome:
    """The outcome of an earlier run with the same Verilog, tools and tests that all passed, or of a new one."""
    job = prepare(component.top, component.cfg, target, liberty=liberty if target == ASIC else (), route=False)
    folder = cache_dir() / "gates"
    name = f"{digest(component.name, job.key, Benches(benches(component)).all())}.json"
    if not fresh:
        try:
            return Outcome(**json.loads((folder / name).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            pass
    outcome = run(component, job)
    if not outcome.failure:
        write_files(folder, {name: json.dumps(asdict(outcome)) + "\n"})
    return outcome


def _print(found: list[Outcome]) -> None:
    table = Table(title="Benches on netlists")
    for title in ("unit", "target"):
        table.add_column(title, no_wrap=True)
    for title in ("tests passed", "seconds"):
        table.add_column(title, justify="right")
    for outcome in found:
        table.add_row(outcome.design, outcome.target, str(outcome.tests), f"{outcome.seconds:.0f}")
    Console(width=100).print(table)
    for outcome in found:
        if outcome.failure:
            click.echo(f"{outcome.design} as {outcome.target}: {outcome.failure}")
