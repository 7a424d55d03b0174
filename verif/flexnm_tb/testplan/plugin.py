"""pytest writes the page of the plan at the end of a full run, or of any run with ``--testplan``."""

from __future__ import annotations

from pathlib import Path

import pytest

REPORT = Path("build", "testplan")
_CHOOSING = ("keyword", "markexpr", "lf", "collectonly", "deselect")
"""Options that leave tests out."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """The option that asks for the page."""
    parser.addoption("--testplan", action="store_true", help=f"write {REPORT}/index.html after a partial run as well")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Write the page from the results of this run and print its path. With xdist, workers have no terminal."""
    if config.getoption("testplan") or full(config):
        reports = [
            (category, getattr(report, "nodeid", ""))
            for category, found in terminalreporter.stats.items()
            for report in found
        ]
        terminalreporter.write_line(write(config.rootpath, reports))


def full(config: pytest.Config) -> bool:
    """Whether the run is of all tests: none named, none left out."""
    everything = {str(config.rootpath / path) for path in config.getini("testpaths")}
    named = {str((config.invocation_params.dir / argument).resolve()) for argument in config.args}
    return named == everything and not any(config.getoption(name, default=None) for name in _CHOOSING)


def write(root: Path, reports: list[tuple[str, str]]) -> str:
    """Write the page below ``root``; returns the line to print. ``reports``: category and node id of each report."""
    # Not at the top: a partial run needs none of it.
    from flexnm_gen.files import write_files
    from flexnm_rtl.config import ConfigError

    from flexnm_tb.formal.catalogue import all_proofs
    from flexnm_tb.testplan.page import counts, render
    from flexnm_tb.testplan.plan import FOLDER, load
    from flexnm_tb.testplan.state import FAILED, NOT_RUN, PASSED, evaluate, from_reports

    try:
        plan = load(root / FOLDER)
        proofs = [proof.name for proof in all_proofs()]
        promises = evaluate(plan, from_reports(reports), root / "build", proofs)
        write_files(root / REPORT, {"index.html": render(plan, promises)})
    except (ConfigError, OSError) as error:
        return f"testplan: no page: {error}"
    states = counts(promises)
    more = [
        f"{states[state]} {text}" for state, text in ((FAILED, "failed"), (NOT_RUN, "not run here")) if states[state]
    ]
    return ", ".join([f"testplan: {states[PASSED]} of {len(promises)} promises held", *more, f"{REPORT}/index.html"])
