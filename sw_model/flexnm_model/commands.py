"""The commands ``ppl`` and ``capture`` of ``flexnm``. PyTorch is imported when one runs, not when help is shown."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click
from flexnm_rtl.config import ConfigError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from flexnm_model.cache import replacing

if TYPE_CHECKING:
    from flexnm_model.perplexity import Row

MODEL = click.option(
    "--model", metavar="PATH", help="GGUF file or Hugging Face folder [default: SmolLM2-135M-Instruct]"
)
TEXT = click.option("--text", metavar="FILE", help="UTF-8 text file [default: 2 MB of Wikipedia]")
WINDOW = click.option("--window", default=512, show_default=True, help="Tokens in a window.")
SKIP = click.option(
    "--skip", default=64, show_default=True, help="Windows at the start of the text left to measurements."
)


def result_file(file: str, what: str) -> None:
    """Make the folder of a result, before minutes of work. Raises ConfigError if ``file`` is a folder itself."""
    if Path(file).is_dir():
        raise ConfigError(f"{file} is a folder: name a file for the {what}")
    Path(file).absolute().parent.mkdir(parents=True, exist_ok=True)


def progress_bar() -> Progress:
    """A bar on standard error, so that standard output holds the result only."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    return Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True))


def _writable(file: str | None) -> Path | None:
    """The path to write to, checked before minutes of work. Raises ConfigError if its folder is missing."""
    if file is not None and (Path(file).is_dir() or not Path(file).absolute().parent.is_dir()):
        raise ConfigError(f"{file} cannot be written: name a file in a folder that exists")
    return None if file is None else Path(file)


@click.command()
@MODEL
@TEXT
@click.option("--windows", default=16, show_default=True, help="Windows of text, from its start.")
@WINDOW
@click.option("--patterns", default="16:32,8:16,4:8,2:4", show_default=True, help="N:M patterns to prune to.")
@click.option("--json", "json_file", metavar="FILE", help="Also write the result as JSON.")
def ppl(model: str | None, text: str | None, windows: int, window: int, patterns: str, json_file: str | None) -> None:
    """Perplexity of a language model with N:M pruned activations.

    Prunes the inputs of all decoder linears by magnitude. If interrupted, run it again: it goes on where it was.
    """
    from flexnm_model.perplexity import measure, parse_patterns

    target = _writable(json_file)
    chosen = parse_patterns(patterns)
    with progress_bar() as progress:
        task = progress.add_task("dense", total=windows * (1 + len(chosen)))
        rows = measure(
            chosen,
            model=model,
            text_path=text,
            windows=windows,
            window=window,
            advance=lambda name: progress.update(task, advance=1, description=name),
        )
    Console().print(_table(rows, windows, window))
    if target is not None:
        result = {"model": model, "text": text, "windows": windows, "window": window}
        with replacing(target) as out:
            out.write_text(json.dumps(result | {"rows": [dataclasses.asdict(r) for r in rows]}, indent=2) + "\n")


def _table(rows: list[Row], windows: int, window: int) -> Table:
    table = Table(title=f"Perplexity, {windows} windows of {window} tokens")
    table.add_column("pattern")
    for column in ("perplexity", "ratio to dense", "seconds"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(row.pattern, f"{row.perplexity:.2f}", f"{row.ratio:.3f}", f"{row.seconds:.1f}")
    return table


@click.command()
@MODEL
@TEXT
@click.option("--layers", help="Comma-separated names [default: q, gate, down of an early, a middle, a late block]")
@click.option("--tokens", default=512, show_default=True, help="Tokens of text, from its start.")
def capture(model: str | None, text: str | None, layers: str | None, tokens: int) -> None:
    """Capture inputs and weights of a language model's linear layers into the cache."""
    from flexnm_model import capture as capturing

    names = [name.strip() for name in layers.split(",") if name.strip()] if layers is not None else None
    if names == []:
        raise ConfigError("no layer is named: write names like layers.15.mlp.down_proj, or leave --layers out")
    with progress_bar() as progress:
        task = progress.add_task("capture", total=None)
        data = capturing.capture(
            names,
            tokens,
            model,
            text,
            advance=lambda done, total: progress.update(task, completed=done, total=total),
        )
    table = Table(title=f"Captured layers, {tokens} tokens")
    for column in ("layer", "inputs K", "outputs O", "max |x|"):
        table.add_column(column, justify="left" if column == "layer" else "right")
    for name, layer in data.items():
        table.add_row(name, str(layer.w.shape[1]), str(layer.w.shape[0]), f"{float(layer.x.abs().max()):.3g}")
    Console().print(table)
