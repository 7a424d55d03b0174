"""The command ``flexnm coverage``."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import click
from flexnm_gen.files import check_folder, write_files
from flexnm_model.commands import progress_bar
from flexnm_rtl.config import ConfigError

from flexnm_tb.coverage.benches import TARGETS, chosen, run
from flexnm_tb.coverage.functional_report import read_functional
from flexnm_tb.coverage.points import merge, named, read_points
from flexnm_tb.coverage.report import Covered, page, print_report
from flexnm_tb.coverage.waivers import Waiver, apply, check_used, read_waivers
from flexnm_tb.run import BenchError

WAIVERS = Path(__file__).parents[2] / "coverage_waivers.toml"


@click.command()
@click.option("--only", default="", metavar="NAMES", help=f"Designs, such as {next(iter(TARGETS))}.  [default: all]")
@click.option("--waivers", default=str(WAIVERS), metavar="FILE", help="Points that need no cover.")
@click.option("--python", "python_file", metavar="FILE", help="JSON report of coverage.py, to be shown on the page.")
@click.option("--seeds", type=click.IntRange(1), help="Runs of the benches.  [default: 3]")
@click.option("--fresh", is_flag=True, help="Use no results of earlier runs.")
@click.option("--out", default="build/coverage", show_default=True, metavar="FOLDER", help="Folder for the page.")
def coverage(only: str, waivers: str, python_file: str | None, seeds: int | None, fresh: bool, out: str) -> int:
    """Run the benches with Verilator's coverage and say what of the generated Verilog they reach.

    Writes OUT/index.html and OUT/coverage.json. If interrupted, run it again: finished benches are kept. Exit status 1
    when fewer than 98 % of a design's lines and branches are covered.
    """
    check_folder(out, "page")
    python = None if python_file is None else _read(Path(python_file))
    known = read_waivers(Path(waivers))
    targets = chosen(only)
    if seeds:
        targets = [dataclasses.replace(target, seeds=tuple(range(1, seeds + 1))) for target in targets]
    merged = []
    try:
        with progress_bar() as progress:
            task = progress.add_task("coverage", total=sum(len(target.seeds) for target in targets))
            for target in targets:
                progress.update(task, description=f"coverage: {target.name}")
                files, sources = run(target, fresh=fresh, advance=lambda: progress.advance(task))
                counts = named(merge(read_points(file.read_text(encoding="utf-8")) for file in files), sources)
                tried = read_functional([file.with_suffix(".xml") for file in files], target.top, target.cfg)
                merged.append((target, counts, sources, tried))
    except BenchError as error:
        click.echo(f"flexnm: error: {error}", err=True)
        return 1
    used = set[Waiver]()
    designs = []
    for target, counts, sources, tried in merged:
        waived = apply(known, counts, sources)
        used |= set(waived.values())
        designs.append(Covered(target, counts, waived, sources, tried))
    if not only:
        check_used(known, used)
    record = {
        "designs": [design.record() for design in designs],
        "python": None if python is None else python["totals"],
    }
    write_files(Path(out), {"index.html": page(designs, python), "coverage.json": json.dumps(record, indent=2) + "\n"})
    print_report(designs, python)
    click.echo(str(Path(out, "index.html")))
    return 0 if all(design.passed for design in designs) else 1


def _read(file: Path) -> Any:
    try:
        record = json.loads(file.read_text(encoding="utf-8"))
        return record if record["totals"] and "files" in record else {}
    except (ValueError, KeyError, TypeError):
        raise ConfigError(f"{file} is no JSON report of coverage.py: make one with `coverage json`") from None
