"""Multiple-choice documents as pairs of context and continuation, letter for letter as lm-evaluation-harness does.

Each function takes one document as its data file has it. Source: the task files of lm-evaluation-harness 0.4.13
(``arc_easy``, ``arc_challenge``, ``boolq``, ``piqa``, ``winogrande``, ``hellaswag``), no examples in the prompt, no
chat template. A continuation starts with the delimiter, one space.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Question:
    """One document. options: (context, continuation) of each answer. gold: index of the right one.

    lengths: characters of each answer, by which ``acc_norm`` divides; empty where the task has no such measure.
    """

    options: tuple[tuple[str, str], ...]
    gold: int
    lengths: tuple[int, ...] = ()


def _choices(context: str, answers: list[str], gold: int, *, normalised: bool = True) -> Question:
    options = tuple((context, f" {answer}") for answer in answers)
    return Question(options, gold, tuple(len(answer) for answer in answers) if normalised else ())


def arc(doc: Mapping[str, Any]) -> Question:
    """``query`` ("Question: …\\nAnswer:"), ``choices``, ``gold``."""
    return _choices(doc["query"], doc["choices"], doc["gold"])


def boolq(doc: Mapping[str, Any]) -> Question:
    """``query`` (title -- passage, "Question: …?", "Answer:" on lines of their own), ``choices`` yes and no, ``gold``.

    The answers are put in the harness's order, no before yes: of two equal likelihoods the first counts.
    """
    answers = ["no", "yes"]
    return _choices(doc["query"], answers, answers.index(doc["choices"][doc["gold"]]), normalised=False)


def piqa(doc: Mapping[str, Any]) -> Question:
    """``goal``, ``sol1``, ``sol2``, ``label`` (0 or 1)."""
    return _choices(f"Question: {doc['goal']}\nAnswer:", [doc["sol1"], doc["sol2"]], doc["label"])


def winogrande(doc: Mapping[str, Any]) -> Question:
    """``sentence`` with one ``_``, ``option1``, ``option2``, ``answer`` ("1" or "2").

    Partial scoring: the options go into the context, and the rest of the sentence is the continuation of both.
    """
    before, _, after = doc["sentence"].partition("_")
    options = tuple((before + doc[option], f" {after.strip()}") for option in ("option1", "option2"))
    return Question(options, int(doc["answer"]) - 1)


def hellaswag(doc: Mapping[str, Any]) -> Question:
    """``activity_label``, ``ctx_a``, ``ctx_b``, ``endings``, ``label`` ("0" to "3")."""
    context = f"{doc['activity_label']}: {doc['ctx_a']} {doc['ctx_b'].capitalize()}"
    return _choices(_clean(context), [_clean(ending) for ending in doc["endings"]], int(doc["label"]))


def _clean(text: str) -> str:
    # WikiHow's titles in brackets; steps and their order are the harness's.
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")
