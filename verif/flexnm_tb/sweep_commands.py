"""The command ``flexnm sweep``."""

from __future__ import annotations

from pathlib import Path

import click
from flexnm_gen.files import check_folder, write_files
from flexnm_gen.liberty import split_files
from flexnm_gen.synth import CLOCK_PS
from flexnm_rtl.config import ConfigError

from flexnm_tb.sweep.grid import UNITS, Axes

DATABASE = "sweep.sqlite"
NAMED = 5
"""Failures that the last line names; the table and the page have all."""


@click.command()
@click.option("--patterns", default="2:4,4:8,8:16,16:32", show_default=True, help="N:M.")
@click.option("--tops", default="compressor,mac_array", show_default=True, help=f"Units: {', '.join(UNITS)}.")
@click.option("--selectors", default="rank,rank2,radix", show_default=True, help="Selection hardware.")
@click.option(
    "--lanes", default="1,N", show_default=True, help="Multipliers in a processing element; N: as many as kept."
)
@click.option("--arrays", default="1x4,4x8", show_default=True, help="Rows x columns of processing elements.")
@click.option("--metadata", default="bitmask", show_default=True, help="Metadata formats.")
@click.option("--targets", default="asic", show_default=True, help="What the units are mapped to.")
@click.option("--liberty", default="", metavar="FILES", help="asic: files of one library, separated by blanks.")
@click.option("--clock", type=float, default=1e6 / CLOCK_PS, show_default=True, help="Clock rate to aim at, in MHz.")
@click.option("--jobs", type=click.IntRange(1), help="Points measured at a time.  [default: one a core]")
@click.option("--dask", metavar="ADDRESS", help="Measure on a Dask cluster: tcp://host:port of its scheduler.")
@click.option("--perplexity", metavar="FILE", help="Written by `flexnm ppl --json`.  [default: SmolLM2-135M-Instruct]")
@click.option("--out", default="build/sweep", show_default=True, metavar="FOLDER", help="Folder for the results.")
def sweep(
    liberty: str, clock: float, jobs: int | None, dask: str | None, perplexity: str | None, out: str, **axes: str
) -> int:
    """Measure a grid of designs and draw area, throughput and accuracy against each other.

    Lists have commas. Writes OUT/sweep.sqlite and OUT/sweep.html. What the table holds is not measured again: after
    an interruption, or with more values, run it again. Points that cannot be built are recorded with the reason. When
    one fails the others go on, and the exit status is 1.
    """
    from flexnm_tb.sweep.environment import Settings, environments
    from flexnm_tb.sweep.perplexity import DEFAULT, read_perplexities
    from flexnm_tb.sweep.report import HTML_FILE, Report, page
    from flexnm_tb.sweep.run import sweep as run
    from flexnm_tb.sweep.store import INVALID, Store

    if dask is not None and jobs is not None:
        raise ConfigError("JOBS is for this machine: leave it out with DASK, whose workers say how many there are")
    if not clock > 0:
        raise ConfigError(f"CLOCK={clock:g} is out of range: give a clock rate in MHz")
    folder = Path(out)
    check_folder(out, "results")
    grid = Axes.parse(**axes)
    perplexities = read_perplexities(Path(perplexity) if perplexity else DEFAULT)
    points = grid.points()
    # Absolute: workers have working directories of their own.
    liberties = tuple(path.absolute() for path in split_files(liberty))
    settings = Settings(liberties, 1e6 / clock)
    found = environments(grid.targets, settings)
    with Store(folder / DATABASE) as store:
        outcome = run(points, found, settings, store, jobs=jobs or -1, dask=dask)
    write_files(folder, {HTML_FILE: page(Report(outcome.rows, grid.describe(), found, perplexities))})
    invalid = [row for row in outcome.rows if row.status == INVALID]
    click.echo(f"{len(outcome.rows)} points, {outcome.measured} of them new")
    if invalid:
        click.echo(f"{len(invalid)} points cannot be built, the first: {invalid[0].name}: {invalid[0].reason}")
    click.echo(str(folder / DATABASE))
    click.echo(str(folder / HTML_FILE))
    if outcome.failed:
        named = [f"{row.name}: {row.reason}" for row in outcome.failed[:NAMED]]
        more = f"; {len(outcome.failed) - NAMED} more" if len(outcome.failed) > NAMED else ""
        click.echo(f"flexnm: error: {len(outcome.failed)} points failed: {'; '.join(named)}{more}", err=True)
    return 1 if outcome.failed else 0
