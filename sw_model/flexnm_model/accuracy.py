"""Perplexity and zero-shot accuracy of a language model under a list of methods; every finished piece is kept.

Perplexity: ``flexnm_model.perplexity``, windows from the start of the text. Accuracy: multiple-choice documents of
``flexnm_model.tasks``; the answer with the largest log-likelihood counts as the model's (``acc``), or the one with the
largest log-likelihood a character (``acc_norm``). All methods see the same windows and the same documents.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import torch
from flexnm_rtl.config import ConfigError, ceil_div

from flexnm_model import llm, perplexity, text
from flexnm_model.accuracy_parameters import complete, read
from flexnm_model.accuracy_store import Journal, code_key, method_key
from flexnm_model.llm import LanguageModel
from flexnm_model.methods import Method, Parameters, sparsify
from flexnm_model.methods.prepare import Source
from flexnm_model.perplexity import WindowLoss
from flexnm_model.tasks import data, score
from flexnm_model.tasks.data import Task
from flexnm_model.tasks.formats import Question
from flexnm_model.tasks.score import Tree

DENSE = "dense"
DEFAULT_METHODS = (
    "50%,16:32,8:16,4:8,2:4,"
    "8:16+clact,8:16+amber,8:16+variance,"
    "8:16+d-pts,8:16+d-pts-median,8:16+s-pts,8:16+var,8:16+scaling,8:16+s-pts+var,"
    "w8:16,dense@int8,8:16@int8"
)
# Longer sequences save nothing: attention is computed between all tokens of one.
PACK_TOKENS = 256

Progress = Callable[[str, str, int], None]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """model: see ``llm.load``. tasks: may be none. limit: documents a task, evenly spread; None: all.

    text: see ``text.load_text``. windows, window: how many, of how many tokens; no windows: no perplexity.
    parameters: files with calibrated or trained tensors, the later ones go first. calibration: where tensors come from
    that methods need and no file has. Raises ConfigError for nothing to measure.
    """

    model: str | None = None
    tasks: tuple[Task, ...] = tuple(data.TASKS.values())
    limit: int | None = None
    text: str | None = None
    windows: int = 16
    window: int = 512
    parameters: tuple[str, ...] = ()
    calibration: Source = field(default_factory=Source)

    def __post_init__(self) -> None:
        if self.windows < 0 or self.window < 2:
            raise ConfigError(f"{self.windows} windows of {self.window} tokens: at least 2 tokens a window are needed")
        if not self.windows and not self.tasks:
            raise ConfigError("nothing to measure: name a task, or ask for at least 1 window")
        if self.limit is not None and self.limit < 1:
            raise ConfigError(f"LIMIT={self.limit} is out of range: at least 1 document a task is needed")


@dataclass(frozen=True)
class TaskScores:
    """documents: their numbers in the data set. acc, acc_norm: right or wrong, of each; acc_norm may be empty."""

    documents: tuple[int, ...]
    acc: tuple[bool, ...]
    acc_norm: tuple[bool, ...]


@dataclass(frozen=True)
class MethodResult:
    """losses: of each window. tasks: by name. seconds: computing time of all this, whenever that was."""

    method: str
    losses: tuple[WindowLoss, ...]
    tasks: Mapping[str, TaskScores]
    seconds: float


def parse_methods(written: str) -> list[Method]:
    """Comma-separated methods, "dense" first (added if need be), none twice. Raises ConfigError."""
    named = [Method.parse(part) for part in written.split(",") if part.strip()]
    if not named:
        raise ConfigError("no method is named: write methods like 8:16,8:16+var,50%")
    return list({str(method): method for method in [Method.parse(DENSE), *named]}.values())


def measure(methods: Sequence[Method], settings: Settings, advance: Progress = lambda *_: None) -> list[MethodResult]:
    """Results of the methods, in their order.

    advance: called with the method, what is done ("loading", "calibration", "perplexity" or a task's title), and how
    many more windows or documents are finished; never before the settings were checked. Known results come from the
    cache; the model is only loaded if one is missing. Raises ConfigError for bad input, in one line.
    """
    llm.model_key(settings.model)
    given = read(methods, settings.parameters, settings.model)
    advance("", "loading", 0)
    bench = _Bench(settings)
    tensors = complete(given, methods, settings.model, _source(settings), bench.language, advance)
    return [_measure(bench, method, tensors, advance) for method in methods]


def _source(settings: Settings) -> Source:
    """What to calibrate on: never on text that perplexity is measured on."""
    source = settings.calibration
    if settings.text != source.text:
        return source
    measured = ceil_div(settings.windows * settings.window, source.window)
    return replace(source, skip=max(source.skip, measured))


class _Bench:
    """The model, windows and documents of one run, made when first asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.model_key = llm.model_key(settings.model)
        self.text_key = text.text_key(settings.text) if settings.windows else ""
        self.questions = {task.name: data.load(task) for task in settings.tasks}
        self.chosen = {name: data.spread(len(found), settings.limit) for name, found in self.questions.items()}
        self._language: LanguageModel | None = None
        self._windows: list[torch.Tensor] = []
        self._trees: dict[tuple[str, int], Tree] = {}

    def language(self) -> LanguageModel:
        if self._language is None:
            self._language = llm.load(self.settings.model)
        return self._language

    def window(self, index: int) -> torch.Tensor:
        if not self._windows:
            content, settings = text.load_text(self.settings.text), self.settings
            self._windows = text.windows(self.language().tokenizer, content, settings.windows, settings.window)
        return self._windows[index]

    def tree(self, task: str, number: int) -> Tree:
        if (task, number) not in self._trees:
            encoded = score.encode(self.language().tokenizer, self.questions[task][number])
            self._trees[task, number] = score.tree(encoded)
        return self._trees[task, number]


def _measure(bench: _Bench, method: Method, tensors: Parameters, advance: Progress) -> MethodResult:
    with contextlib.ExitStack() as stack:

        @functools.cache
        def model() -> torch.nn.Module:
            found: torch.nn.Module = bench.language().model
            stack.enter_context(sparsify(found, method, parameters=tensors))
            return found

        key = (bench.model_key, code_key(method.integer), method_key(method, tensors))
        settings = bench.settings
        text_journal = Journal(*key, "perplexity", bench.text_key, settings.window)
        losses = []
        for index in range(settings.windows):
            if index not in text_journal.records:
                text_journal.add({index: asdict(perplexity.loss(model(), bench.window(index)))})
            losses.append(WindowLoss(**text_journal.records[index]))
            advance(str(method), "perplexity", 1)
        scores, seconds = {}, sum(loss.seconds for loss in losses)
        for task in settings.tasks:
            journal = Journal(*key, "task", task.name, task.sha256)
            _answer(bench, task.name, journal, model, functools.partial(advance, str(method), task.title))
            scores[task.name] = _score(bench.questions[task.name], bench.chosen[task.name], journal)
            seconds += sum(journal.records[number]["seconds"] for number in bench.chosen[task.name])
        return MethodResult(str(method), tuple(losses), scores, seconds)


def _answer(
    bench: _Bench, task: str, journal: Journal, model: Callable[[], torch.nn.Module], advance: Callable[[int], None]
) -> None:
    """Put the log-likelihoods of all chosen documents into the journal."""
    missing = [number for number in bench.chosen[task] if number not in journal.records]
    advance(len(bench.chosen[task]) - len(missing))
    for group in score.packs(((number, bench.tree(task, number)) for number in missing), PACK_TOKENS):
        start = time.perf_counter()
        found = score.log_likelihoods(model(), [document for _, document in group])
        seconds = (time.perf_counter() - start) / len(group)
        records = zip((number for number, _ in group), found, strict=True)
        journal.add({number: {"nats": nats, "seconds": seconds} for number, nats in records})
        advance(len(group))


def _score(questions: Sequence[Question], chosen: Sequence[int], journal: Journal) -> TaskScores:
    acc, acc_norm = [], []
    for number in chosen:
        question, nats = questions[number], journal.records[number]["nats"]
        acc.append(_largest(nats) == question.gold)
        if question.lengths:
            each = [value / length for value, length in zip(nats, question.lengths, strict=True)]
            acc_norm.append(_largest(each) == question.gold)
    return TaskScores(tuple(chosen), tuple(acc), tuple(acc_norm))


def _largest(values: Sequence[float]) -> int:
    """Index of the largest value, the first of equal ones."""
    return max(range(len(values)), key=lambda i: values[i])
