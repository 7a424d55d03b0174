"""The commands ``flexnm fuzz`` and ``flexnm soak``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from flexnm_gen.files import check_folder
from flexnm_rtl.config import ConfigError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from flexnm_tb.llm_commands import arguments
from flexnm_tb.verilator import VerilatorError

MOST_MINUTES = 10_000


@click.command()
@click.option("--jobs", type=int, default=10_000, show_default=True, help="Jobs to run, bad and good ones.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the campaign.")
@click.option("--configs", help="Comma-separated configurations [default: all]")
@click.option("--replay", metavar="FILE", help="Run the case of a failed.json and nothing else.")
@click.option("--fresh", is_flag=True, help="Use no results of earlier runs.")
@click.option("--out", default="build/fuzz", show_default=True, metavar="FOLDER", help="Folder for the report.")
def fuzz(jobs: int, seed: int, configs: str | None, replay: str | None, fresh: bool, out: str) -> int:
    """Bad traffic at random on the compiled engines; after each the next good job must be bit-exact.

    If interrupted, run it again: finished parts are kept. Exit status 1 when a case fails; it is shrunk, and written
    to OUT/failed.json for --replay.
    """
    if jobs < 1:
        raise ConfigError(f"JOBS={jobs} is out of range: it must be at least 1")
    if seed < 0:
        raise ConfigError(f"SEED={seed} is out of range: it must be 0 or more")
    check_folder(out, "report")
    try:
        if replay is not None:
            return _replay(Path(replay))
        return _campaign(jobs, seed, configs, fresh, Path(out))
    except VerilatorError as error:
        raise ConfigError(str(error)) from None


def _replay(file: Path) -> int:
    from flexnm_tb.fuzz import campaign

    config, case = campaign.load_failure(file)
    wrong = campaign.replay(config, case)
    click.echo(f"{config}, {len(case)} steps: {wrong or 'good'}")
    return 1 if wrong else 0


def _campaign(jobs: int, seed: int, configs: str | None, fresh: bool, out: Path) -> int:
    from flexnm_tb.fuzz import campaign, report
    from flexnm_tb.fuzz.configs import CONFIGS

    chosen = [name.strip() for name in configs.split(",") if name.strip()] if configs is not None else list(CONFIGS)
    campaign.check_configs(chosen)
    with progress("jobs", jobs) as advance:
        outcome = campaign.run_campaign(jobs, seed, chosen, fresh=fresh, advance=advance)
    command = f"flexnm fuzz {arguments(click.get_current_context())}".strip()
    path = report.write(outcome, command, out)
    report.show(outcome)
    click.echo(f"{outcome.jobs} jobs in {outcome.chunks} chunks, {outcome.cached} of them from earlier runs")
    click.echo(f"report: {path}")
    failure = outcome.failure
    if failure is None:
        return 0
    click.echo(f"FAILED: {failure.config}, seed {failure.seed}, chunk {failure.chunk}: {failure.message}", err=True)
    click.echo(f"replay the shrunk case: flexnm fuzz --replay {out / 'failed.json'}", err=True)
    return 1


@contextmanager
def progress(unit: str, total: int) -> Iterator[Callable[[str, int], None]]:
    """A bar on standard error; yields what moves it."""
    text, times = TextColumn("{task.description:28}"), TimeElapsedColumn()
    columns = (text, BarColumn(), MofNCompleteColumn(), TextColumn(unit), times)
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=total)
        yield lambda text, done: bar.update(task, description=text, completed=min(done, total))


@click.command()
@click.option("--minutes", type=float, default=60, show_default=True, help="How long, interrupted runs counted.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the jobs.")
@click.option("--job", type=int, help="Run the job of this number and nothing else.")
@click.option("--fresh", is_flag=True, help="Start over.")
@click.option("--out", default="build/soak", show_default=True, metavar="FOLDER", help="Folder for the report.")
def soak(minutes: float, seed: int, job: int | None, fresh: bool, out: str) -> int:
    """Random tiles of a real LLM on the compiled engines: results against the model, counters against formulas.

    If interrupted, run it again: it goes on where it was. Exit status 1 when anything differs.
    """
    if not 0 < minutes <= MOST_MINUTES:
        raise ConfigError(f"MINUTES={minutes:g} is out of range: it must be above 0 and at most {MOST_MINUTES}")
    if seed < 0:
        raise ConfigError(f"SEED={seed} is out of range: it must be 0 or more")
    if job is not None and job < 0:
        raise ConfigError(f"job {job} is out of range: it must be 0 or more")
    check_folder(out, "report")
    from flexnm_tb.fuzz import soak as soaking

    try:
        with progress("seconds", int(60 * minutes)) as advance:
            totals = soaking.run_soak(minutes, seed, job=job, fresh=fresh, advance=advance)
    except VerilatorError as error:
        raise ConfigError(str(error)) from None
    if totals.failure is not None:
        click.echo(f"FAILED: seed {seed}, job {totals.next}: {totals.failure}", err=True)
        click.echo(f"replay it: flexnm soak --seed {seed} --job {totals.next}", err=True)
    if job is not None:
        click.echo(f"job {job}: {totals.failure or 'good'}")
        return 1 if totals.failure else 0
    path = soaking.write(totals, f"flexnm soak {arguments(click.get_current_context())}".strip(), Path(out))
    soaking.show(totals)
    click.echo(f"{totals.total('words')} results compared, {int(totals.failure is not None)} mismatches")
    click.echo(f"report: {path}")
    return 1 if totals.failure else 0
