"""Mutants of the software model: ``python -m flexnm_tb.mutation.model``, run by ``make mutate_model``.

mutmut changes one operator, number, name or argument of the bit-exact core at a time and runs the tests that reach the
changed function. It needs a project of its own, which is made under ``build/mutation-model``: a copy of the model, of
its tests, and settings. Texts of error messages are not changed. What it has tried is not tried again, unless the
function has changed since.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import flexnm_model
from flexnm_rtl.config import ConfigError
from mutmut.stats import status_by_exit_code
from rich.console import Console
from rich.table import Table

from flexnm_tb.mutation.report import LEAST

CORE = ("select", "compress", "metadata", "matmul", "requantize", "fixed_point")
TESTS = ("select", "prune", "matmul", "formats", "requantize", "fixed_point", "driver", "driver_methods")
EXPLAINED = Path(__file__).with_name("explained_model.toml")
_ROOT = Path(__file__).resolve().parents[3]
_WORK = Path("build/mutation-model")
_EXHAUSTIVE = ("network_sorts_every_zero_one_input[16]", "nth_largest_of_every_zero_one_block[16]")
"""Tests that take longer than all others together; their smaller cases are run."""
_NOTICED = ("killed", "timeout", "segfault")
_CONFTEST = """
import torch  # noqa: E402
from hypothesis import settings

torch.set_num_threads(1)  # processes are forked
settings.register_profile("mutation", derandomize=True, deadline=None)
settings.load_profile("mutation")
"""


class Outcome(NamedTuple):
    """A mutant: its file, its name for mutmut, what became of it, and why it may survive, if somebody knows."""

    file: str
    name: str
    status: str
    reason: str

    @property
    def open(self) -> bool:
        """Whether nobody knows why it was not noticed."""
        return self.status not in _NOTICED and not self.reason


def settings() -> str:
    """``pyproject.toml`` of the project that mutmut gets."""
    deselected = [f"--deselect=tests/test_model_select.py::test_{name}" for name in _EXHAUSTIVE]
    values = {
        "source_paths": ["flexnm_model"],
        "only_mutate": [f"flexnm_model/{name}.py" for name in CORE],
        "do_not_mutate_patterns": ["raise ConfigError"],
        "also_copy": ["tests"],
        "pytest_add_cli_args": ["-q", "-p", "no:cacheprovider", *deselected],
        "pytest_add_cli_args_test_selection": [f"tests/test_model_{name}.py" for name in TESTS],
        "timeout_multiplier": 20.0,
        "timeout_constant": 30.0,
        "use_git_change_detection": False,
    }
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in values.items()]
    return "[tool.mutmut]\n" + "".join(lines)


def prepare(work: Path) -> None:
    """Make the project, or bring it up to date."""
    for source, target in ((Path(flexnm_model.__file__).parent, "flexnm_model"), (_ROOT / "verif/model", "tests")):
        shutil.rmtree(work / target, ignore_errors=True)
        shutil.copytree(source, work / target, ignore=shutil.ignore_patterns("__pycache__"))
    shared = (_ROOT / "verif/conftest.py").read_text(encoding="utf-8")
    (work / "tests" / "conftest.py").write_text(shared + _CONFTEST, encoding="utf-8")
    (work / "pyproject.toml").write_text(settings(), encoding="utf-8")


def outcomes(work: Path, reasons: dict[str, str]) -> list[Outcome]:
    """What became of every mutant."""
    found = []
    for file in CORE:
        meta = json.loads((work / "mutants" / "flexnm_model" / f"{file}.py.meta").read_text(encoding="utf-8"))
        for name, code in meta["exit_code_by_key"].items():
            short = name.removeprefix("flexnm_model.")
            found.append(Outcome(file, short, status_by_exit_code[code], reasons.get(short, "")))
    return found


def report(found: list[Outcome]) -> bool:
    """Print a table by file and every survivor; whether enough are noticed and the others are all explained."""
    table = Table(title="Mutants of the software model")
    table.add_column("file", no_wrap=True)
    for title in ("mutants", "killed", "survived", "explained", "unexplained", "rate"):
        table.add_column(title, justify="right")
    for file in (*CORE, "all"):
        own = [outcome for outcome in found if file in (outcome.file, "all")]
        count = Counter("killed" if outcome.status in _NOTICED else "survived" for outcome in own)
        left = sum(outcome.open for outcome in own)
        numbers = (len(own), count["killed"], count["survived"], count["survived"] - left, left)
        table.add_row(file, *map(str, numbers), f"{100 * count['killed'] / max(1, len(own)):.1f} %")
    console = Console(width=100)
    console.print(table)
    for outcome in found:
        if outcome.status not in _NOTICED:
            text = f"{outcome.name}: {outcome.status}: {outcome.reason or 'no reason'}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)
    killed = sum(outcome.status in _NOTICED for outcome in found)
    return killed >= LEAST * len(found) and not any(outcome.open for outcome in found)


def main(jobs: int = 1) -> int:
    """Exit status 1 when fewer than 95 % are noticed, or when it is not known why one is not."""
    reasons: dict[str, str] = tomllib.loads(EXPLAINED.read_text(encoding="utf-8")) if EXPLAINED.exists() else {}
    _WORK.mkdir(parents=True, exist_ok=True)
    prepare(_WORK)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(jobs)]
    done = subprocess.run(command, cwd=_WORK, env=environment, stdout=sys.stderr, check=False)
    if done.returncode:
        print(f"flexnm: error: mutmut ended with status {done.returncode}: see above", file=sys.stderr)
        return 1
    return 0 if report(outcomes(_WORK, reasons)) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
    except ConfigError as error:
        print(f"flexnm: error: {error}", file=sys.stderr)
        sys.exit(2)
