"""Mutants of the software model: ``python -m flexnm_tb.mutation.model``, run by ``make mutate_model``.

mutmut changes one operator, number, name or argument of the bit-exact core at a time and runs the tests that reach the
changed function. It needs a project of its own, which is made under ``build/mutation-model``: a copy of the model, of
its tests, and settings. Texts of error messages are not changed. A mutant that was noticed is not tried again, unless
its function has changed since; the others are, when a test has changed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import flexnm_model
from flexnm_model.cache import digest
from flexnm_rtl.config import ConfigError
from mutmut.stats import status_by_exit_code
from rich.console import Console
from rich.table import Table

from flexnm_tb.mutation.model_change import Change, Reason, Reasons, change, functions
from flexnm_tb.mutation.report import LEAST

CORE = ("select", "compress", "metadata", "matmul", "requantize", "fixed_point")
TESTS = (
    "select",
    "prune",
    "matmul",
    "formats",
    "requantize",
    "fixed_point",
    "flexible",
    "edges",
    "driver",
    "driver_methods",
)
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
    """A mutant: its file, what it changes, what became of it, and why it may survive, if somebody knows."""

    file: str
    change: Change
    status: str
    reason: Reason | None

    @property
    def noticed(self) -> bool:
        """Whether a test failed, hung or crashed."""
        return self.status in _NOTICED

    @property
    def equivalent(self) -> bool:
        """Whether it went unnoticed and no test could notice it."""
        return not self.noticed and self.reason is not None and self.reason.equivalent


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


def retry(work: Path) -> None:
    """Let mutmut try again what went unnoticed, if a test has changed since it was tried."""
    tests = digest(*(path.read_bytes() for path in sorted((work / "tests").glob("*.py"))))
    seen = work / "tests.digest"
    if seen.exists() and seen.read_text(encoding="utf-8") == tests:
        return
    for path in (work / "mutants" / "flexnm_model").glob("*.meta"):
        meta = json.loads(path.read_text(encoding="utf-8"))
        codes = meta["exit_code_by_key"]
        codes.update({name: None for name, code in codes.items() if status_by_exit_code[code] not in _NOTICED})
        path.write_text(json.dumps(meta), encoding="utf-8")
    seen.write_text(tests, encoding="utf-8")


def outcomes(work: Path, reasons: Reasons) -> list[Outcome]:
    """What became of every mutant."""
    found = []
    for file in CORE:
        source = work / "mutants" / "flexnm_model" / f"{file}.py"
        written = functions(source)
        meta = json.loads(source.with_suffix(".py.meta").read_text(encoding="utf-8"))
        for name, code in meta["exit_code_by_key"].items():
            changed = change(name, written)
            found.append(Outcome(file, changed, status_by_exit_code[code], reasons.find(changed)))
    return found


def report(found: list[Outcome]) -> bool:
    """Print a table by file and every survivor; whether enough are noticed and the others are all explained."""
    table = Table(title="Mutants of the software model")
    table.add_column("file", no_wrap=True)
    for title in ("mutants", "killed", "equivalent", "explained", "unexplained", "rate"):
        table.add_column(title, justify="right")
    enough = True
    for file in (*CORE, "all"):
        own = [outcome for outcome in found if file in (outcome.file, "all")]
        killed, equivalent = sum(o.noticed for o in own), sum(o.equivalent for o in own)
        left = sum(not o.noticed and o.reason is None for o in own)
        rate = killed / max(1, len(own) - equivalent)
        enough &= rate >= LEAST and not left
        numbers = (len(own), killed, equivalent, len(own) - killed - equivalent - left, left)
        table.add_row(file, *map(str, numbers), f"{100 * rate:.1f} %")
    console = Console(width=100)
    console.print(table)
    for outcome in found:
        if not outcome.noticed:
            why = outcome.reason.why if outcome.reason else "no reason"
            text = f"{outcome.status}: {outcome.change.identity}: {why}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)
    return enough


def main(jobs: int = 1) -> int:
    """Exit status 1 when fewer than 95 % are noticed, or when it is not known why one is not."""
    reasons = Reasons(EXPLAINED)
    _WORK.mkdir(parents=True, exist_ok=True)
    prepare(_WORK)
    retry(_WORK)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", str(jobs)]
    done = subprocess.run(command, cwd=_WORK, env=environment, stdout=sys.stderr, check=False)
    if done.returncode:
        print(f"flexnm: error: mutmut ended with status {done.returncode}: see above", file=sys.stderr)
        return 1
    enough = report(outcomes(_WORK, reasons))
    for name in sorted(reasons.unused):
        print(f"flexnm: note: {EXPLAINED.name} explains a mutant that there is not: {name}", file=sys.stderr)
    return 0 if enough else 1


if __name__ == "__main__":
    try:
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1))
    except ConfigError as error:
        print(f"flexnm: error: {error}", file=sys.stderr)
        sys.exit(2)
