"""The command ``flexnm decode``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from flexnm_gen.files import check_folder
from flexnm_rtl.config import Config, ConfigError
from rich.console import Console
from rich.table import Table
from rich.text import Text

from flexnm_tb.llm_commands import TABLE_WIDTH, arguments, config_of, progress
from flexnm_tb.verilator import VerilatorError

if TYPE_CHECKING:
    from flexnm_tb.decode_run import Outcome

PRESET = "n8m16-decode"


@click.command()
@click.option("--prompt", metavar="TEXT", help="Start of the text.  [default: The capital of France is]")
@click.option("--model", metavar="PATH", help="GGUF file or Hugging Face folder [default: SmolLM2-135M-Instruct]")
@click.option("--tokens", default=16, show_default=True, help="New tokens.")
@click.option("--preset", "preset_name", default=PRESET, show_default=True, help="Configuration of the engine.")
@click.option("--pattern", metavar="N:M", help="Another pattern than the preset's, or plan:FILE.")
@click.option("--k-max", type=int, help="Largest number of input channels of a layer.")
@click.option("--bus-width", type=int, help="Bits of the memory bus.")
@click.option("--tile-beats", type=int, help="Beats of a row of weights in memory.")
@click.option("--engines", default=2, show_default=True, help="Simulated engines at a time, a thread each.")
@click.option("--out", default="build/decode", show_default=True, metavar="FOLDER", help="Folder for the report.")
@click.option("--fresh", is_flag=True, help="Use no layers of earlier runs.")
def decode(
    prompt: str | None,
    model: str | None,
    tokens: int,
    preset_name: str,
    pattern: str | None,
    k_max: int | None,
    bus_width: int | None,
    tile_beats: int | None,
    engines: int,
    out: str,
    fresh: bool,
) -> int:
    """Let a language model write with every decoder linear on the simulated decode engine, each result checked.

    Shows the text beside those of the float model and of the software model. Writes decode.json and decode.html. If
    interrupted, run it again: finished layers are kept. Exit status 1 when any number or the text differs.
    """
    from flexnm_model.methods.spec import parse_pattern

    asked = None if pattern is None else parse_pattern(pattern)
    cfg = config_of(preset_name, asked, lanes=None, k_max=k_max, bus_width=bus_width, tile_beats=tile_beats)
    check_folder(out, "report")
    from flexnm_model.driver import DeviceError

    from flexnm_tb import decode_report, decode_run

    try:
        with progress() as advance:
            outcome = decode_run.run_decode(
                cfg,
                asked,
                prompt=decode_run.PROMPT if prompt is None else prompt,
                tokens=tokens,
                model=model,
                engines=engines,
                fresh=fresh,
                advance=advance,
            )
    except VerilatorError as error:
        raise ConfigError(str(error)) from None
    except DeviceError as error:
        click.echo(f"flexnm: error: {error}", err=True)
        return 1
    context = click.get_current_context()
    command = f"flexnm {context.info_name} {arguments(context)}".strip()
    files = decode_report.write(outcome, cfg, command, Path(out))
    _print(outcome, cfg)
    click.echo(f"report: {files[1]}, {files[0]}")
    return 0 if outcome.good else 1


def _print(outcome: Outcome, cfg: Config) -> None:
    from flexnm_tb.decode_report import HEADER, totals

    lines = totals(outcome, cfg)
    total = lines[-1]
    bus = f"bus of {cfg.bus_width} bits, tiles of {cfg.tile_outputs} outputs"
    size = f"{outcome.prompt_tokens} + {outcome.tokens} tokens"
    table = Table(title=f"Decode RTL against the model: {outcome.model}, {size}, {outcome.pattern}, {bus}")
    for name in HEADER:
        table.add_column(name, justify="left" if name == HEADER[0] else "right", no_wrap=True)
    for line in lines:
        table.add_row(*line.cells(), end_section=line is lines[-2])
    texts = Table(title="Texts", show_lines=True)
    texts.add_column("format", no_wrap=True)
    texts.add_column("text")
    for name, made in outcome.generations.items():
        texts.add_row(name, Text(made.text))  # a Text: brackets of the model are no markup
    # Away from a terminal rich assumes 80 columns and would cut the names.
    console = Console()
    console = console if console.is_terminal else Console(width=TABLE_WIDTH)
    console.print(table)
    console.print(texts)
    fresh = sum(not row.cached for row in outcome.rows)
    rate = f"{total.cycles / total.seconds:.0f} cycles/s in {total.seconds:.1f} s of simulation"
    click.echo(f"{len(outcome.rows)} layer steps, {len(outcome.rows) - fresh} from an earlier run; {rate}")
    click.echo(f"{total.words} sums compared, {total.mismatches} mismatches")
    names = list(outcome.generations)
    verb = "equals" if outcome.identical else "DIFFERS FROM"
    click.echo(f"{names[-1]} {verb} {names[-2]}: text, and logits to the last bit")
