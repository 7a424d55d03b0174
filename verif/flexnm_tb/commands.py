"""The command ``flexnm sim``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from flexnm_gen.options import config_options, make_config
from flexnm_rtl.config import Config, ConfigError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from flexnm_tb.verilator import VerilatorError

TABLE_WIDTH = 130

if TYPE_CHECKING:
    from flexnm_tb.llm_sim import Row


@click.command()
@config_options
@click.option("--model", metavar="PATH", help="GGUF file or Hugging Face folder [default: SmolLM2-135M-Instruct]")
@click.option("--text", metavar="FILE", help="UTF-8 text file [default: Wikipedia]")
@click.option("--tokens", default=8, show_default=True, help="Tokens of the text.")
@click.option("--layers", help="Comma-separated layer names [default: q, gate, down of three blocks]")
@click.option("--jobs", default=2, show_default=True, help="Simulations at a time.")
def sim(model: str | None, text: str | None, tokens: int, layers: str | None, jobs: int, **settings: Any) -> int:
    """Run real LLM layers through the Verilog of compressor and MAC array, and compare with the software model.

    Exit status 1 when any word differs.
    """
    from flexnm_tb.llm_sim import run_layers
    from flexnm_tb.run import BenchError

    if jobs < 1:
        raise ConfigError(f"JOBS={jobs} is out of range: it must be at least 1")
    if text is not None and not Path(text).is_file():
        raise ConfigError(f"{text} is no file: give a UTF-8 text file")
    cfg = make_config(**settings)
    console = Console(stderr=True)
    columns = (TextColumn("{task.description:44}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    try:
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("", total=1)
            rows = run_layers(
                cfg,
                layers=layers.split(",") if layers else None,
                tokens=tokens,
                model=model,
                text=text,
                jobs=jobs,
                advance=lambda name, done, total: progress.update(task, description=name, completed=done, total=total),
            )
    except VerilatorError as error:
        raise ConfigError(str(error)) from None
    except BenchError as error:
        click.echo(str(error), err=True)
        return 1
    # Away from a terminal rich assumes 80 columns and would cut the layer names.
    out = Console()
    (out if out.is_terminal else Console(width=TABLE_WIDTH)).print(_table(rows, cfg))
    wrong = sum(row.mismatches for row in rows)
    checked = sum(row.words for row in rows)
    click.echo(f"{checked} words compared, {wrong} mismatches")
    return 1 if wrong else 0


def _table(rows: list[Row], cfg: Config) -> Table:
    table = Table(title=f"RTL against the model, {cfg.pattern}, {cfg.act_width} bits, {cfg.metadata.value}")
    table.add_column("layer")
    table.add_column("unit")
    for column in ("tokens", "blocks", "cycles", "cycles/ideal", "mismatches", "compression"):
        table.add_column(column, justify="right")
    for row in rows:
        ratio = f"{cfg.compression_ratio:.3f}" if row.unit == "compressor" else ""
        table.add_row(
            row.layer,
            row.unit,
            str(row.tokens),
            str(row.blocks),
            str(row.cycles),
            f"{row.cycles / row.ideal:.4f}",
            str(row.mismatches),
            ratio,
        )
    return table
