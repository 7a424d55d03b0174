"""The command ``plan`` of ``flexnm``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click
from flexnm_rtl.config import Config
from flexnm_rtl.presets import preset
from rich.console import Console
from rich.table import Table

from flexnm_model.commands import MODEL, SKIP, TEXT, WINDOW, progress_bar, result_file

if TYPE_CHECKING:
    from flexnm_model.methods.plan import Plan


@click.command()
@MODEL
@TEXT
@click.option("--windows", default=8, show_default=True, help="Windows of text to measure on.")
@WINDOW
@SKIP
@click.option("--average", default="8:16", show_default=True, metavar="N:M", help="The budget: N:M in all layers.")
@click.option(
    "--budget", default="macs", show_default=True, help="What is counted: macs, cycles (linear engine), bytes (decode)."
)
@click.option("--tokens", default=64, show_default=True, help="Cycles: tokens in a job.")
@click.option("--preset", "preset_name", default="n8m16-serial", show_default=True, help="Cycles, bytes: the engine.")
@click.option("--rows", type=int, help="Cycles: processing elements for tokens.")
@click.option("--cols", type=int, help="Cycles: processing elements for outputs.")
@click.option("--lanes", type=int, help="Cycles: multipliers in a processing element.")
@click.option("--bus-width", type=int, help="Bytes: bits of the memory bus.")
@click.option("--out", default="build/plan.json", show_default=True, metavar="FILE", help="Result.")
def plan(
    model: str | None,
    text: str | None,
    windows: int,
    window: int,
    skip: int,
    average: str,
    budget: str,
    tokens: int,
    preset_name: str,
    rows: int | None,
    cols: int | None,
    lanes: int | None,
    bus_width: int | None,
    out: str,
) -> None:
    """Choose N for each layer: less loss for the work of N:M in all layers.

    The result is used as a method: flexnm accuracy --methods plan:FILE. If interrupted, run it again: it goes on where
    it was.
    """
    from flexnm_model.methods.budget import Budget
    from flexnm_model.methods.patterns import parse_blocks
    from flexnm_model.methods.planning import planned
    from flexnm_model.methods.prepare import Source

    blocks = parse_blocks(average)
    given = {"rows": rows, "cols": cols, "lanes": lanes, "bus_width": bus_width}
    engine = _engine(preset_name, blocks.n, blocks.m, given) if budget != "macs" else Config()
    counted = Budget(budget, engine, tokens)
    source = Source(text, windows, window, skip)
    result_file(out, "plan")
    with progress_bar() as progress:
        task = progress.add_task("sensitivity", total=windows)
        result = planned(
            model, source, counted, blocks.n, blocks.m, advance=lambda done: progress.update(task, completed=done)
        )
    result.save(out)
    _show(result, out)


def _engine(name: str, n: int, m: int, given: Mapping[str, int | None]) -> Config:
    """The engine that N:M in all layers would be built as, with the fields that were given."""
    changes = {key: value for key, value in given.items() if value is not None}
    ports = {"acts_per_beat": 0, "weights_per_beat": 0, "results_per_beat": 0}
    return preset(name).replace(flexible=False, n_keep=n, m_group=m, **ports, **changes)


def _show(result: Plan, out: str) -> None:
    """N by kind of layer, what it costs, and the loss that the measurement predicts."""
    kinds: dict[str, list[int]] = {}
    for name, blocks in result.layers.items():
        kinds.setdefault(re.sub(r".*\.", "", name), []).append(blocks.n)
    table = Table(title=f"{out}: N of M={result.m} by layer, first to last block")
    table.add_column("layers")
    table.add_column("N")
    for kind, numbers in kinds.items():
        table.add_row(kind, " ".join(map(str, numbers)))
    Console().print(table)
    cost, loss = result.header["budget"], result.header["predicted_loss"]
    Console().print(
        f"{cost['kind']}: {cost['used']:,} of {cost['allowed']:,} allowed ({cost['dense']:,} dense); predicted loss "
        f"{loss['plan']:.3f} nats a token, with {result.header['average']} in all layers {loss['uniform']:.3f}",
        highlight=False,
    )
