"""The command ``flexnm llm``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from flexnm_gen.files import check_folder
from flexnm_gen.options import make_config
from flexnm_rtl.config import Config, ConfigError
from flexnm_rtl.presets import preset
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from flexnm_tb.verilator import VerilatorError

if TYPE_CHECKING:
    from flexnm_model.methods.patterns import Pattern

    from flexnm_tb.llm_layers import Position
    from flexnm_tb.llm_run import Outcome

PRESET = "n8m16-edge"
TABLE_WIDTH = 130


@click.command()
@click.option("--preset", "preset_name", default=PRESET, show_default=True, help="Configuration of the engine.")
@click.option("--pattern", metavar="N:M", help="Another pattern than the preset's, or plan:FILE.")
@click.option("--method", metavar="SPEC", help="A whole method in place of a pattern, such as 8:16+d-pts+var.")
@click.option("--parameters", metavar="FILE", help="What flexnm calibrate made, for methods that need it.")
@click.option("--rows", type=int, help="Tokens at a time.")
@click.option("--cols", type=int, help="Outputs at a time.")
@click.option("--lanes", type=int, help="Multipliers in a processing element; divides N.")
@click.option("--k-max", type=int, help="Largest number of input channels of a layer.")
@click.option("--model", metavar="PATH", help="GGUF file or Hugging Face folder [default: SmolLM2-135M-Instruct]")
@click.option("--text", metavar="FILE", help="UTF-8 text file [default: Wikipedia]")
@click.option("--tokens", default=64, show_default=True, help="Tokens of the text, from its start.")
@click.option("--layers", default="all", show_default=True, help="Comma-separated names; others run in software.")
@click.option("--engines", default=2, show_default=True, help="Simulated engines at a time, a thread each.")
@click.option("--out", default="build/llm", show_default=True, metavar="FOLDER", help="Folder for the report.")
@click.option("--fresh", is_flag=True, help="Use no layers of earlier runs.")
def llm(
    preset_name: str,
    pattern: str | None,
    method: str | None,
    parameters: str | None,
    rows: int | None,
    cols: int | None,
    lanes: int | None,
    k_max: int | None,
    model: str | None,
    text: str | None,
    tokens: int,
    layers: str,
    engines: int,
    out: str,
    fresh: bool,
) -> int:
    """Run a language model with every decoder linear in simulated RTL, each result checked against the model.

    Writes llm.json and llm.html. If interrupted, run it again: finished layers are kept. Exit status 1 when any
    number differs.
    """
    if pattern is not None and method is not None:
        raise ConfigError(f"PATTERN={pattern} and METHOD={method} exclude each other: give one of them")
    from flexnm_model.methods import Method

    written = method or pattern
    asked = None if written is None else Method.parse(written)
    cfg = config_of(
        preset_name, None if asked is None else asked.pattern, rows=rows, cols=cols, lanes=lanes, k_max=k_max
    )
    chosen = None if layers == "all" else [name.strip() for name in layers.split(",") if name.strip()]
    if chosen == []:
        raise ConfigError("no layer is named: write LAYERS=all, or names like layers.15.mlp.down_proj")
    check_folder(out, "report")
    from flexnm_model.driver import DeviceError

    from flexnm_tb import llm_report, llm_run

    try:
        with progress() as advance:
            outcome = llm_run.run_llm(
                cfg,
                asked,
                parameters=parameters,
                layers=chosen,
                tokens=tokens,
                model=model,
                text_path=text,
                engines=engines,
                fresh=fresh,
                advance=advance,
            )
    except VerilatorError as error:
        raise ConfigError(str(error)) from None
    except DeviceError as error:
        click.echo(f"flexnm: error: {error}", err=True)
        return 1
    command = f"flexnm {click.get_current_context().info_name} " + arguments(click.get_current_context())
    files = llm_report.write(outcome, command.strip(), Path(out))
    _print(outcome)
    click.echo(f"report: {files[1]}, {files[0]}")
    return 0 if outcome.good else 1


def config_of(preset_name: str, pattern: Pattern | None, lanes: int | None, **settings: int | None) -> Config:
    """The configuration; the preset's lanes stay where they divide the pattern's N. settings: of ``make_config``.

    A plan leaves N as it is, and brings its M. A flexible preset stays as it is. Raises ConfigError.
    """
    from flexnm_model.methods.patterns import Blocks, Planned
    from flexnm_model.methods.plan import Plan

    usual = preset(preset_name)
    if usual.flexible:
        return make_config(preset_name, None, lanes=lanes, **settings)
    if isinstance(pattern, Planned) and (m := Plan.load(pattern.file).m) != usual.m_group:
        pattern = Blocks(m, m)
    if not isinstance(pattern, Blocks):
        return make_config(preset_name, None, lanes=lanes, **settings)
    kept = usual.lanes if pattern.n % usual.lanes == 0 else pattern.n
    return make_config(preset_name, None, n_keep=pattern.n, m_group=pattern.m, lanes=lanes or kept, **settings)


def arguments(context: click.Context) -> str:
    """The options that were given, as they are written."""
    written = []
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        source = context.get_parameter_source(parameter.name or "")
        if source is not click.core.ParameterSource.DEFAULT and value is not None:
            written.append(parameter.opts[0] if value is True else f"{parameter.opts[0]} {value}")
    return " ".join(written)


@contextmanager
def progress() -> Iterator[Callable[[Position], None]]:
    """A bar on standard error; yields what moves it."""
    columns = (TextColumn("{task.description:26}"), BarColumn(None), TextColumn("{task.fields[note]}"))
    with Progress(*columns, console=Console(stderr=True), expand=True) as progress:
        task = progress.add_task("", total=None, note="")

        def advance(position: Position) -> None:
            total = position.total or None
            progress.update(
                task, description=position.step, completed=position.cycles, total=total, note=_note(position)
            )

        yield advance


def _note(position: Position) -> str:
    note = f"{position.tokens} tokens"
    if position.total:
        note += f" {position.cycles / 1e6:.1f}/{position.total / 1e6:.1f} Mcycles"
    left = position.seconds_left
    if left is not None:
        note += f" {position.rate / 1e3:.0f}k/s {int(left) // 60}:{int(left) % 60:02} left"
    return note


def _print(outcome: Outcome) -> None:
    from flexnm_tb.llm_report import add_up, by_kind

    kinds, total = by_kind(outcome.rows), add_up("all", outcome.rows)
    size = f"{outcome.tokens} tokens, {outcome.method}, {outcome.array}"
    table = Table(title=f"RTL against the model: {outcome.model}, {size}")
    table.add_column("projection")
    for column in ("K x O", "layers", "cycles", "cycles/ideal", "utilisation", "sums", "mismatches"):
        table.add_column(column, justify="right")
    for t in (*kinds, total):
        shares = (f"{t.ratio:.4f}", f"{t.utilisation:.4f}")
        numbers = (str(t.layers), str(t.cycles), *shares, str(t.words), str(t.mismatches))
        table.add_row(t.name, "" if t is total else t.shapes, *numbers, end_section=t is kinds[-1])
    losses = Table(title="Perplexity on these tokens")
    losses.add_column("format")
    losses.add_column("perplexity", justify="right")
    for name, value in outcome.perplexity.items():
        losses.add_row(name, f"{value:.6f}")
    # Away from a terminal rich assumes 80 columns and would cut the names.
    out = Console()
    out = out if out.is_terminal else Console(width=TABLE_WIDTH)
    out.print(table)
    out.print(losses)
    rate = f"{total.cycles / total.seconds:.0f} cycles/s in {total.seconds:.1f} s of simulation"
    click.echo(f"{total.layers} layers, {total.cached} from an earlier run; {rate}, {outcome.engines} engines")
    click.echo(f"{total.words} sums compared, {total.mismatches} mismatches")
    names = list(outcome.perplexity)
    verb = "equals" if outcome.identical else "DIFFERS FROM"
    click.echo(f"{names[-1]} {verb} {names[-2]}, logits and perplexity, to the last bit")
