"""The page of the plan: states of tests, proofs and campaigns, what it shows, and when pytest writes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flexnm_tb.testplan.page import counts, render
from flexnm_tb.testplan.plan import FOLDER, Plan, load
from flexnm_tb.testplan.plugin import full, write
from flexnm_tb.testplan.state import FAILED, NOT_RUN, PASSED, evaluate, from_reports
from testplan_tools import PROOFS, project

ROOT = Path(__file__).parents[2]


def test_states_of_tests() -> None:
    """A failed case is a failed test, whatever the others are; skipped ones do not count."""
    reports = [("passed", "a.py::f[1]"), ("failed", "a.py::f[2-[x]]"), ("passed", "a.py::f[3]"), ("passed", "a.py::g")]
    reports += [("error", "a.py::h"), ("skipped", "a.py::s"), ("", "a.py::setup"), ("warnings", "")]
    assert from_reports(reports) == {"a.py::f": FAILED, "a.py::g": PASSED, "a.py::h": FAILED}


FAST = "verif/unit/test_fast.py::test_fast"
OTHER = "verif/unit/test_fast.py::test_other"
PROVED = [{"name": name, "result": "proved"} for name in PROOFS]


@pytest.mark.parametrize(
    "tests, reports, states",
    [
        ({}, {}, [NOT_RUN, NOT_RUN]),
        ({FAST: PASSED}, {}, [PASSED, NOT_RUN]),
        ({FAST: PASSED, OTHER: FAILED}, {}, [FAILED, NOT_RUN]),
        ({OTHER: PASSED}, {}, [NOT_RUN, NOT_RUN]),
        ({FAST: PASSED}, {"formal": {"proofs": PROVED}}, [PASSED, PASSED]),
        ({FAST: PASSED}, {"formal": {"proofs": PROVED[1:]}}, [PASSED, NOT_RUN]),
        ({FAST: PASSED}, {"formal": {"proofs": [*PROVED[:2], {**PROVED[2], "result": "timeout"}]}}, [FAILED, PASSED]),
        ({FAST: PASSED}, {"fuzz": {"failure": {"seed": 1}}}, [FAILED, NOT_RUN]),
        ({FAST: PASSED}, {"fuzz": {"failure": None}}, [PASSED, NOT_RUN]),
        ({FAST: PASSED}, {"fuzz": {"other": None}, "formal": [1]}, [PASSED, NOT_RUN]),
    ],
)
def test_states_of_promises(
    tests: dict[str, str], reports: dict[str, object], states: list[str], tmp_path: Path
) -> None:
    """From tests, proofs and campaigns, those of the first promise and of the second, which has a proof alone."""
    folder = project(tmp_path)
    for name, data in reports.items():
        (folder / "build" / name).mkdir(parents=True)
        (folder / "build" / name / "report.json").write_text(json.dumps(data))
    held = evaluate(load(folder / FOLDER), tests, folder / "build", PROOFS)
    assert [promise.state for promise in held] == states


def test_page_shows_every_promise(tmp_path: Path) -> None:
    """With its state, without any file beside it, and with quotes that are no markup."""
    plan = load(project(tmp_path, ('why = "nothing"', 'why = "a < b"')) / FOLDER)
    held = evaluate(plan, {FAST: PASSED}, tmp_path / "build", PROOFS)
    page = render(plan, held)
    assert counts(held) == {PASSED: 1, NOT_RUN: 1}
    assert all(text in page for text in ("It is very fast, `always`.", "parts.first", FAST, "bus.jobs", "a &lt; b"))
    assert '<span class="passed">passed</span>' in page
    assert "not run here: make formal" in page
    assert not [word for word in ("http", "src=", "<link", "<script") if word in page]
    assert render(Plan((), ()), []).startswith("<!doctype html>")


def test_a_broken_plan_leaves_no_page(tmp_path: Path) -> None:
    """One line, and the run goes on."""
    folder = project(tmp_path, ("[[silent]]", "[[silnt]]"))
    assert write(folder, []).startswith("testplan: no page: all.toml has a table silnt")
    assert not (folder / "build").exists()


CONFTEST = "from flexnm_tb.testplan.plugin import pytest_addoption, pytest_terminal_summary\n"
TESTS = """import pytest
@pytest.mark.parametrize("k", [0, 1])
def test_fast(k): pass
def test_broken(): assert False
"""


PARTIAL = ["-k", "not broken"]


@pytest.mark.parametrize(
    "arguments, line",
    [
        (["-n", "2"], "testplan: 0 of 2 promises held, 1 failed, 1 not run here, build/testplan/index.html"),
        (PARTIAL, None),
        ([*PARTIAL, "--testplan"], "testplan: 1 of 2 promises held, 1 not run here, build/testplan/index.html"),
    ],
)
def test_a_full_run_prints_the_path(arguments: list[str], line: str | None, tmp_path: Path) -> None:
    """From what the workers report; a run of some tests only when it is asked to."""
    settings = '[tool.pytest.ini_options]\ntestpaths = ["verif"]\n'
    more = {"pyproject.toml": settings, "verif/conftest.py": CONFTEST, "verif/unit/test_fast.py": TESTS}
    folder = project(tmp_path, files=more)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "xdist", *arguments]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    done = subprocess.run(command, cwd=folder, env=alone, capture_output=True, text=True, check=False)
    lines = [text for text in done.stdout.splitlines() if text.startswith("testplan")]
    assert lines == ([line] if line else []), done.stdout + done.stderr
    assert (folder / "build" / "testplan" / "index.html").exists() == (line is not None)


@pytest.mark.parametrize(
    "named, options, everything",
    [
        (["verif"], {}, True),
        ([f"{ROOT}/verif"], {"lf": False}, True),
        (["verif/unit"], {}, False),
        (["verif", "verif/unit"], {}, False),
        (["verif/unit/test_fast.py::test_fast"], {}, False),
        *((["verif"], {name: value}, False) for name, value in (
            ("keyword", "x"), ("markexpr", "llm"), ("lf", True), ("collectonly", True), ("deselect", ["x"]),
        )),
    ],
)  # fmt: skip
def test_what_a_full_run_is(named: list[str], options: dict[str, object], everything: bool) -> None:
    """Nothing named but all of it, nothing left out."""
    config: Any = SimpleNamespace(
        rootpath=ROOT, args=named, invocation_params=SimpleNamespace(dir=ROOT),
        getini=lambda name: ["verif"], getoption=lambda name, default=None: options.get(name, default),
    )  # fmt: skip
    assert full(config) == everything
