"""The command ``flexnm mutate``."""

from __future__ import annotations

import json
from pathlib import Path

import click
from flexnm_gen.files import check_folder, write_files
from flexnm_model.commands import progress_bar
from flexnm_rtl.config import ConfigError

from flexnm_tb.mutation.campaign import Store, run_all
from flexnm_tb.mutation.components import COMPONENTS, Component, chosen
from flexnm_tb.mutation.design import MutationError, prepare
from flexnm_tb.mutation.report import Result, print_report
from flexnm_tb.mutation.survivors import read_explained, survivors
from flexnm_tb.verilator import VerilatorError


@click.command()
@click.option("--only", default="", metavar="NAMES", help=f"Components, of {', '.join(COMPONENTS)}.  [default: all]")
@click.option("--count", type=int, help="Mutants of each component.  [default: as many as docs/mutation.md says]")
@click.option("--seed", type=int, default=1, show_default=True, help="Which mutants are drawn.")
@click.option("--jobs", type=int, default=2, show_default=True, help="Simulations at a time.")
@click.option("--fresh", is_flag=True, help="Use no results of earlier runs.")
@click.option("--out", default="build/mutation", show_default=True, metavar="FOLDER", help="Folder for the report.")
def mutate(only: str, count: int | None, seed: int, jobs: int, fresh: bool, out: str) -> int:
    """Change one bit of the generated Verilog at a time and see whether the benches notice.

    Writes OUT/mutation.json. If interrupted, run it again: finished mutants are kept. Exit status 1 when fewer than
    95 % are noticed, or when it is not known why one is not.
    """
    for name, value in (("COUNT", count), ("JOBS", jobs)):
        if value is not None and value < 1:
            raise ConfigError(f"{name}={value} is out of range: it must be a whole number from 1")
    check_folder(out, "report")
    explained = read_explained()
    try:
        results = [
            _result(component, count or component.count, seed, jobs, fresh, explained.get(component.name, {}))
            for component in chosen(only)
        ]
    except (MutationError, VerilatorError) as error:
        click.echo(f"flexnm: error: {error}", err=True)
        return 1
    write_files(Path(out), {"mutation.json": json.dumps([result.record() for result in results], indent=2) + "\n"})
    print_report(results)
    click.echo(str(Path(out, "mutation.json")))
    return 0 if all(result.passed for result in results) else 1


def _result(component: Component, count: int, seed: int, jobs: int, fresh: bool, reasons: dict[str, str]) -> Result:
    with progress_bar() as progress:
        task = progress.add_task(f"{component.name}: build", total=count)
        design = prepare(component, count, seed)
        progress.update(task, total=len(design.mutants), description=f"{component.name}: mutants")
        store = Store(design.folder, design.benches, fresh=fresh)
        verdicts = run_all(design, store, jobs, lambda new: progress.advance(task, new))
        left = sum(not verdict.killed for verdict in verdicts.values())
        proofs = progress.add_task(f"{component.name}: proofs", total=left)
        found = survivors(design, verdicts, reasons, lambda new: progress.advance(proofs, new))
    return Result(design, verdicts, found)
