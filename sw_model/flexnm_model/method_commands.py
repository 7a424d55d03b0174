"""The command ``calibrate`` of ``flexnm``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

from flexnm_model.commands import MODEL, SKIP, TEXT, WINDOW, progress_bar, result_file

if TYPE_CHECKING:
    from flexnm_model.methods import Parameters


@click.command()
@MODEL
@TEXT
@click.option("--windows", default=32, show_default=True, help="Windows of text to calibrate and train on.")
@WINDOW
@SKIP
@click.option("--train", metavar="METHOD", help="Also make what this method learns or fits, such as 8:16+refit+ls.")
@click.option("--steps", default=64, show_default=True, help="Training: windows, again from the first if need be.")
@click.option("--rate", default=0.03, show_default=True, help="Training: Adam's rate, of the size of each tensor.")
@click.option("--seed", default=0, show_default=True, help="Training: seed of the order of the windows.")
@click.option("--parameters", metavar="FILE", help="Start from the tensors of this file.")
@click.option("--out", default="build/parameters.safetensors", show_default=True, metavar="FILE", help="Result.")
def calibrate(
    model: str | None,
    text: str | None,
    windows: int,
    window: int,
    skip: int,
    train: str | None,
    steps: int,
    rate: float,
    seed: int,
    parameters: str | None,
    out: str,
) -> None:
    """Calibrate a language model on a text: the parameters that scores and mitigations need.

    With --train also those that are learned (by bringing the sparse model close to the dense one) and the weights of
    refit. If interrupted, run it again: training goes on where it was.
    """
    from flexnm_model.llm import model_key
    from flexnm_model.methods import Method, Parameters
    from flexnm_model.methods.prepare import Source, check_preparable, prepared
    from flexnm_model.methods.train import Recipe

    result_file(out, "parameters")
    source, recipe = Source(text, windows, window, skip), Recipe(steps, rate, seed)
    method = None if train is None else check_preparable(Method.parse(train))
    start = None if parameters is None else Parameters.load(parameters, model=model_key(model))
    with progress_bar() as progress:
        task = progress.add_task("calibration", total=None)
        result = prepared(
            model,
            source,
            method,
            recipe,
            start=start,
            advance=lambda name, done, total: progress.update(task, description=name, completed=done, total=total),
        )
    result.save(out)
    Console().print(_table(result))
    Console().print(_summary(result, out), soft_wrap=True, highlight=False)


def _summary(result: Parameters, out: str) -> str:
    """What was written, and what training gained: the mean loss of its first and its last quarter."""
    summary = f"{out}: {len(result.layers)} layers, {result.header.get('tokens', 0)} tokens"
    losses = result.header.get("trained", {}).get("losses", [])
    if losses:
        quarter = max(1, len(losses) // 4)
        first, last = (sum(part) / quarter for part in (losses[:quarter], losses[-quarter:]))
        summary += f", loss {first:.3f} -> {last:.3f} nats a token"
    return summary


def _table(result: Parameters) -> Table:
    table = Table(title="Parameters")
    table.add_column("tensor")
    table.add_column("numbers", justify="right")
    sizes: dict[str, int] = {}
    for own in result.layers.values():
        for name, tensor in own.items():
            sizes[name] = sizes.get(name, 0) + tensor.numel()
    for name, size in sizes.items():
        table.add_row(name, f"{size:,}")
    return table
