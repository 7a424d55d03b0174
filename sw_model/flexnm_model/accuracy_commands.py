"""The command ``accuracy`` of ``flexnm``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource
from flexnm_rtl.config import ConfigError
from rich.console import Console
from rich.table import Table

from flexnm_model.commands import MODEL, TEXT, WINDOW, progress_bar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flexnm_model.accuracy import MethodResult, Settings
    from flexnm_model.accuracy_report import Report
    from flexnm_model.methods import Method

DEFAULT_LIMIT = 200


@click.command()
@MODEL
@click.option("--methods", metavar="LIST", help="Methods, commas between them [default: patterns, scores, mitigations]")
@click.option("--tasks", default="all", show_default=True, help="Tasks, commas between them; none: perplexity only.")
@click.option("--limit", default=DEFAULT_LIMIT, show_default=True, help="Documents a task, evenly spread; 0: all.")
@click.option("--windows", default=16, show_default=True, help="Windows of text, from its start; 0: no perplexity.")
@WINDOW
@TEXT
@click.option("--parameters", metavar="FILES", help="Calibrated or trained tensors [default: calibrate what is needed]")
@click.option("--out", default="build/accuracy", show_default=True, metavar="DIR", help="Folder for the report.")
def accuracy(
    model: str | None,
    methods: str | None,
    tasks: str,
    limit: int,
    windows: int,
    window: int,
    text: str | None,
    parameters: str | None,
    out: str,
) -> None:
    """Perplexity and zero-shot accuracy of a language model under sparsity methods.

    Tasks: ARC-Easy, ARC-Challenge, BoolQ, PIQA, WinoGrande, HellaSwag, scored as lm-evaluation-harness does. Finished
    windows and documents are kept: if interrupted, run it again.
    """
    from flexnm_model.accuracy import DEFAULT_METHODS, Settings, parse_methods
    from flexnm_model.accuracy_report import Report, write
    from flexnm_model.llm import DEFAULT_MODEL
    from flexnm_model.tasks.data import parse_tasks

    if Path(out).exists() and not Path(out).is_dir():
        raise ConfigError(f"{out} is a file: name a folder for the report")
    chosen = parse_methods(DEFAULT_METHODS if methods is None else methods)
    settings = Settings(
        model=model,
        tasks=tuple(parse_tasks(tasks)),
        limit=limit or None,
        text=text,
        windows=windows,
        window=window,
        parameters=tuple(part.strip() for part in (parameters or "").split(",") if part.strip()),
    )
    results = _measured(chosen, settings)
    report = Report(results, settings, _command(click.get_current_context()), model or DEFAULT_MODEL)
    files = write(report, Path(out))
    _show(report)
    Console(stderr=True).print(f"Report: {files[0]}", highlight=False)


def _command(context: click.Context) -> str:
    """The command as it could be typed: the options that were given."""
    words = ["flexnm", str(context.info_name)]
    for parameter in context.command.params:
        name = str(parameter.name)
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            words += [parameter.opts[0], str(context.params[name])]
    return shlex.join(words)


def _measured(methods: Sequence[Method], settings: Settings) -> list[MethodResult]:
    from flexnm_model.accuracy import measure

    documents = sum(min(task.size, settings.limit or task.size) for task in settings.tasks)
    bars = progress_bar()
    task = bars.add_task("", total=len(methods) * (settings.windows + documents))

    def advance(method: str, what: str, count: int) -> None:
        # Not before the first call: bad input gives one line only.
        bars.start()
        bars.update(task, advance=count, description=f"{method} {what}")

    try:
        return measure(methods, settings, advance)
    finally:
        bars.stop()


def _show(report: Report) -> None:
    from flexnm_model.accuracy_report import NATS, POINTS, accuracy_table, perplexity_table

    measures = report.measures
    if NATS in measures:
        _print("Perplexity", perplexity_table(report, measures))
    if POINTS in measures:
        # The error bars are in the report: a terminal is narrow.
        rows = [[cell.split(" ±")[0] for cell in row[:-1]] for row in accuracy_table(report, measures)]
        _print("Accuracy, %", rows)


def _print(title: str, rows: list[list[str]]) -> None:
    table = Table(title=title)
    for i, name in enumerate(rows[0]):
        table.add_column(name, justify="right" if i else "left")
    for row in rows[1:]:
        table.add_row(*row)
    Console().print(table)
