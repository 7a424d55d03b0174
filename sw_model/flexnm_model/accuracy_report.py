"""The report of ``flexnm accuracy``: Markdown with tables and verdicts, JSON for programs, and plots."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flexnm_model import perplexity
from flexnm_model.accuracy import MethodResult, Settings
from flexnm_model.accuracy_claims import Verdict, verdicts
from flexnm_model.accuracy_plots import plot
from flexnm_model.accuracy_statistics import (
    Estimate,
    Loss,
    average,
    losses_in_accuracy,
    losses_in_nats,
    percent,
    ratio,
)
from flexnm_model.cache import replacing
from flexnm_model.tasks.data import TASKS

JSON_FILE, TEXT_FILE = "accuracy.json", "accuracy.md"
NATS, POINTS = "nats a token", "accuracy points"
# A bootstrap over less than this says nothing, and an interval over one window is a point.
MIN_WINDOWS, MIN_DOCUMENTS = 4, 30


@dataclass(frozen=True)
class Report:
    """results: the dense one first. measures: losses by method under each of the two names above, as far as measured.

    command, model: for the heading.
    """

    results: Sequence[MethodResult]
    settings: Settings
    command: str
    model: str

    @property
    def measures(self) -> dict[str, Mapping[str, Loss]]:
        """Losses by method; a measure that was not taken is not there."""
        both = {NATS: losses_in_nats(self.results), POINTS: losses_in_accuracy(self.results)}
        return {name: losses for name, losses in both.items() if losses}

    @property
    def claims(self) -> list[Verdict]:
        """Verdicts by each measure that was taken on enough windows, or enough documents of every task."""
        dense = self.results[0]
        enough = {
            NATS: len(dense.losses) >= MIN_WINDOWS,
            POINTS: all(len(scores.documents) >= MIN_DOCUMENTS for scores in dense.tasks.values()),
        }
        return verdicts({name: losses for name, losses in self.measures.items() if enough[name]})


def write(report: Report, folder: Path) -> list[Path]:
    """Write everything into ``folder`` (made if missing) and return the paths, the text first."""
    folder.mkdir(parents=True, exist_ok=True)
    measures = report.measures
    claims = report.claims
    text, data = folder / TEXT_FILE, folder / JSON_FILE
    plots = [plot(losses, name, folder / f"loss_{name.split()[0]}.svg") for name, losses in measures.items()]
    contents = {
        text: _text(report, measures, claims, plots),
        data: json.dumps(as_dict(report, measures, claims), indent=2) + "\n",
    }
    for path, content in contents.items():
        with replacing(path) as out:
            out.write_text(content, encoding="utf-8")
    return [text, data, *plots]


def as_dict(report: Report, measures: Mapping[str, Mapping[str, Loss]], claims: Sequence[Verdict]) -> dict[str, Any]:
    """The report as JSON-ready values."""
    settings = asdict(report.settings) | {"tasks": [task.name for task in report.settings.tasks]}
    return {
        "command": report.command,
        "model": report.model,
        "settings": settings,
        "methods": [_method(result, measures) for result in report.results],
        "claims": [asdict(claim) for claim in claims],
    }


def _method(result: MethodResult, measures: Mapping[str, Mapping[str, Loss]]) -> dict[str, Any]:
    found: dict[str, Any] = {"method": result.method, "seconds": result.seconds, "tasks": {}}
    if result.losses:
        found["perplexity"] = perplexity.perplexity(result.losses)
        found["perplexity_ratio"] = asdict(ratio(measures[NATS][result.method]))
        found["windows"] = [asdict(loss) for loss in result.losses]
    for name, scores in result.tasks.items():
        found["tasks"][name] = {"acc": asdict(percent(scores.acc)), "documents": len(scores.documents)}
        if scores.acc_norm:
            found["tasks"][name]["acc_norm"] = asdict(percent(scores.acc_norm))
    if result.tasks:
        found["average_acc"] = asdict(average(result))
        found["lost_points"] = asdict(measures[POINTS][result.method].estimate)
    return found


def perplexity_table(report: Report, measures: Mapping[str, Mapping[str, Loss]]) -> list[list[str]]:
    """Header and rows: perplexity and its ratio to the dense one with a 95 % interval."""
    rows = [["method", "perplexity", "over dense", "95 % interval"]]
    for result in report.results:
        found = ratio(measures[NATS][result.method])
        value = f"{perplexity.perplexity(result.losses):.2f}"
        rows.append([result.method, value, f"{found.value:.3f}", f"{found.low:.3f} to {found.high:.3f}"])
    return rows


def accuracy_table(report: Report, measures: Mapping[str, Mapping[str, Loss]]) -> list[list[str]]:
    """Header and rows: ``acc`` in percent with one standard error, of each task and of all, and the points lost."""
    tasks = report.settings.tasks
    rows = [["method", *(task.title for task in tasks), "mean", "lost", "95 % interval"]]
    for result in report.results:
        lost = measures[POINTS][result.method].estimate
        cells = [_percent(percent(result.tasks[task.name].acc)) for task in tasks]
        interval = f"{lost.low:.1f} to {lost.high:.1f}"
        # + 0.0: no negative zero.
        rows.append([result.method, *cells, _percent(average(result)), f"{round(lost.value, 1) + 0.0:.1f}", interval])
    return rows


def _normalised_table(report: Report) -> list[list[str]]:
    first = report.results[0]
    names = [name for name, scores in first.tasks.items() if scores.acc_norm]
    rows = [["method", *(TASKS[name].title for name in names)]]
    rows += [[r.method, *(_percent(percent(r.tasks[name].acc_norm)) for name in names)] for r in report.results]
    return rows if names else []


def _percent(found: Estimate) -> str:
    return f"{found.value:.1f} ± {found.high - found.value:.1f}"


def markdown(rows: Sequence[Sequence[str]], *, numbers: bool = True) -> str:
    """A table; the first row is the header. numbers: all columns but the first are."""
    rule = ["---", *["---:" if numbers else "---"] * (len(rows[0]) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [rows[0], rule, *rows[1:]]) + "\n"


def _text(
    report: Report, measures: Mapping[str, Mapping[str, Loss]], claims: Sequence[Verdict], plots: Sequence[Path]
) -> str:
    parts = [f"# {report.model}: accuracy of sparse activations\n", f"Made by `{report.command}`.\n"]
    settings = report.settings
    if NATS in measures:
        source = "the default text" if settings.text is None else Path(settings.text).name
        parts += [
            f"## Perplexity\n\n{settings.windows} windows of {settings.window} tokens from the start of {source}. The "
            "intervals are bootstraps over the windows, the same resamples for all methods.\n",
            markdown(perplexity_table(report, measures)),
        ]
    if POINTS in measures:
        sizes = ", ".join(f"{TASKS[n].title} {len(s.documents)}" for n, s in report.results[0].tasks.items())
        guess = ", ".join(f"{task.title} {task.chance:g}" for task in settings.tasks)
        parts += [
            f"## Zero-shot accuracy\n\nPercent of right answers (`acc`) ± one standard error. Documents: {sizes}. "
            f"Guessing gets {guess}. Lost: points below dense, with a bootstrap over the documents.\n",
            markdown(accuracy_table(report, measures)),
        ]
        if normalised := _normalised_table(report):
            parts += ["Log-likelihood divided by the characters of the answer (`acc_norm`):\n", markdown(normalised)]
    rows = [["claim", "loss measured in", "verdict", "evidence"], *([*asdict(c).values()] for c in claims)]
    if claims:
        parts += ["## Orderings of the paper\n\nIn parentheses: 95 % intervals.\n", markdown(rows, numbers=False)]
    parts += [f"![{file.stem}]({file.name})\n" for file in plots]
    seconds = math.fsum(result.seconds for result in report.results)
    parts.append(f"Computing time of all methods: {seconds:.0f} s.\n")
    return "\n".join(parts)
