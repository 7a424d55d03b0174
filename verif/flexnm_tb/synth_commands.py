"""The command ``flexnm synth``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from flexnm_gen import synth as measuring
from flexnm_gen.asic import Mapped
from flexnm_gen.asic_best import Effort
from flexnm_gen.files import check_folder, write_files
from flexnm_gen.liberty import split_files
from flexnm_gen.options import config_options, make_config
from flexnm_gen.synth import ASIC, CLOCK_PS, TARGETS, Job
from flexnm_gen.tops import ALL, TOPS, UNITS, chosen_tops
from flexnm_model.cache import cache_dir, digest
from flexnm_rtl.config import ConfigError
from rich.console import Console

from flexnm_tb.synth_report import print_report
from flexnm_tb.verilator import VerilatorError

_GENERATOR = Path(measuring.__file__).parent


def add_power(job: Job, mapped: Mapped, figures: dict[str, Any]) -> dict[str, Any]:
    """``power`` of a mapped unit on captured layers, at the clock rate asked for or the highest that it reaches."""
    from flexnm_tb.gate_sim import GateMismatch
    from flexnm_tb.power import measure_power

    period = max(job.clock_ps, figures["min_period_ps"] or 0.0)
    try:
        return {"power": measure_power(job.top, job.cfg, mapped, job.liberty, period_ps=period)}
    except (ConfigError, VerilatorError) as error:  # no layers, no simulator: area and timing stand
        return {"power": {"power": None, "period_ps": period, "reason": str(error)}}
    except GateMismatch as error:
        click.echo(f"flexnm: error: {job.module}: {error}", err=True)
        raise click.exceptions.Exit(1) from None


@click.command()
@config_options
@click.option(
    "--top",
    default="compressor",
    show_default=True,
    help=f"Unit to measure: {', '.join(TOPS)}; {UNITS}: all but the engines; {ALL}: all.",
)
@click.option("--target", help=f"What it is mapped to: {', '.join(TARGETS)}.")
@click.option("--liberty", default="", metavar="FILES", help="asic: files of one library, separated by blanks.")
@click.option("--clock", type=float, default=1e6 / CLOCK_PS, show_default=True, help="Clock rate to aim at, in MHz.")
@click.option("--device", help="FPGA to place and route on, with its speed grade: 85k-8, up5k.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the placement.")
@click.option("--route/--no-route", default=True, help="Place and route where the target can.  [default: route]")
@click.option("--power/--no-power", default=True, help="asic: power on layers of an LLM.  [default: power]")
@click.option(
    "--effort",
    type=click.Choice([effort.value for effort in Effort]),
    default=Effort.BEST.value,
    show_default=True,
    help="asic: one way of mapping, or the best result of several.",
)
@click.option("--fresh", is_flag=True, help="Use no results of earlier runs.")
@click.option("--out", default="build/synth", show_default=True, metavar="FOLDER", help="Folder for the results.")
def synth(
    top: str,
    target: str | None,
    liberty: str,
    clock: float,
    device: str | None,
    seed: int,
    route: bool,
    power: bool,
    effort: str,
    fresh: bool,
    out: str,
    **settings: Any,
) -> int:
    """Map a unit to an FPGA or to standard cells, and say what it costs.

    FPGAs: cells, and for ecp5, ice40 and gowin the clock rate after place and route. asic: area, minimum period, power.
    Writes OUT/<module>.<target>.json. Results are kept: the same question is answered at once.
    """
    if target is None:
        raise ConfigError(f"TARGET is missing: choose one of {', '.join(TARGETS)}")
    check_folder(out, "results")
    if not clock > 0:
        raise ConfigError(f"CLOCK={clock:g} is out of range: give a clock rate in MHz")
    cfg = make_config(**settings)
    options: dict[str, Any] = {
        "liberty": split_files(liberty),
        "clock_ps": 1e6 / clock,
        "device": device,
        "seed": seed,
        "route": route,
        "effort": Effort(effort),
    }
    records: list[dict[str, Any]] = []
    with _progress() as step:
        for name in chosen_tops(top):
            job = measuring.prepare(name, cfg, target, **options, step=step)
            records.append(_record(job, power, fresh, step))
    for record in records:
        write_files(Path(out), {_file(record): json.dumps(record, indent=2) + "\n"})
    print_report(records)
    for record in records:
        click.echo(str(Path(out, _file(record))))
    return 0


def _file(record: dict[str, Any]) -> str:
    return f"{record['module']}.{record['target']}.json"


def _record(job: Job, power: bool, fresh: bool, step: Callable[[str], object]) -> dict[str, Any]:
    """The kept record of a job, or a new one, kept now; a damaged one is only lost time."""
    folder = cache_dir() / "synth"
    name = f"{job.key}{_power_code() if power and job.target == ASIC else ''}.json"
    if not fresh:
        try:
            known = json.loads((folder / name).read_text(encoding="utf-8"))
            if known["key"] == job.key:
                click.echo(f"{job.module}: result of an earlier run (same design, settings and tools)")
                return dict(known)
        except (OSError, ValueError, KeyError, TypeError):
            pass
    record = measuring.run(job, extra=add_power if power else None, step=step)
    measured = record["figures"].get("power")
    if measured is None or "excluded" in measured:  # else layers or simulator were missing: next time they may be there
        write_files(folder, {name: json.dumps(record) + "\n"})
    return record


def _power_code() -> str:
    """Digest of the code that measures power, for the name of a kept record."""
    folders = {Path(__file__).parent: ("power*.py", "gate_*", "words.py"), _GENERATOR: ("power*.py", "cell_models.py")}
    files = [file for folder, kinds in folders.items() for kind in kinds for file in sorted(folder.glob(kind))]
    return f"-{digest(*(file.read_bytes() for file in files))}"


@contextmanager
def _progress() -> Iterator[Callable[[str], object]]:
    """A spinner on standard error; yields what changes its text."""
    console = Console(stderr=True)
    with console.status("") as status:
        if console.is_terminal:
            yield status.update
        else:
            yield lambda text: console.print(text, highlight=False, soft_wrap=True)
