"""One simulation of several mutants, in a process of its own: ``python -m flexnm_tb.mutation.session TASK``."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cocotb_tools.runner import get_runner

from flexnm_tb.context import MANIFEST_VARIABLE, SEED_VARIABLE
from flexnm_tb.mutation.design import Design, MutationError
from flexnm_tb.mutation.mutant import TASK_VARIABLE
from flexnm_tb.run import BENCHES_ONLY
from flexnm_tb.verilator import default_cache, verilator_env

_POLL_SECONDS = 0.2
_FIRST_PATIENCE = 300.0
"""Seconds for a test of the original, of which nothing is known yet."""


@dataclass(frozen=True)
class Baseline:
    """What each test takes on the original, in simulated nanoseconds and in seconds."""

    nanoseconds: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """killed: by ``test``, for the reason ``why``; otherwise no test noticed. tests: how many ran. code: digest of the
    code that decided: of the test that killed, otherwise of all.
    """

    mutant: int
    killed: bool
    test: str
    why: str
    tests: int
    seconds: float
    code: str = ""


def run_session(
    design: Design, work: Path, mutants: Sequence[int], baseline: Baseline, patience: float
) -> list[Verdict]:
    """Simulate the original after all of ``mutants``; verdicts of those that got one, and of the original (number 0).

    patience: seconds without an event after which the simulation hangs; the mutant it is at is killed then, and so is
    one at which the simulation dies.
    """
    return verdicts(*_simulate(design, work, mutants, baseline, patience))


def measure_baseline(design: Design, work: Path) -> Baseline:
    """What the tests take on the original. Raises MutationError when it does not pass them all."""
    events, ended = _simulate(design, work, [], Baseline(), _FIRST_PATIENCE)
    for verdict in verdicts(events, ended):
        if verdict.killed:
            raise MutationError(f"{design.top}: the original fails in {verdict.test}: {verdict.why}")
    passed = [event for event in events if event["event"] == "end"]
    return Baseline({e["test"]: e["ns"] for e in passed}, {e["test"]: e["seconds"] for e in passed})


def _simulate(
    design: Design, work: Path, mutants: Sequence[int], baseline: Baseline, patience: float
) -> tuple[list[dict[str, Any]], str]:
    """Events of a simulation, and why it ended early."""
    name = f"session-{mutants[0] if mutants else 0}"
    events = work / f"{name}.jsonl"
    events.unlink(missing_ok=True)
    task = {
        "events": str(events),
        "benches": design.component.benches,
        "mutants": list(mutants),
        "nanoseconds": baseline.nanoseconds,
        "seconds": baseline.seconds,
        "toplevel": design.toplevel,
        "manifest": str(design.manifest),
        "work": str(work),
    }
    file = work / f"{name}.json"
    file.write_text(json.dumps(task), encoding="utf-8")
    ended = _watch([sys.executable, "-m", "flexnm_tb.mutation.session", str(file)], events, patience)
    try:
        return _read(events), ended
    finally:
        events.unlink(missing_ok=True)
        file.unlink(missing_ok=True)


def verdicts(events: list[dict[str, Any]], ended: str) -> list[Verdict]:
    """What the events of a session say. ended: why the process ended, for a test that was not; empty: all was done."""
    found: dict[int, list[dict[str, Any]]] = {}
    for event in events:
        found.setdefault(event["mutant"], []).append(event)
    results = []
    for number, own in found.items():
        ends = [event for event in own if event["event"] == "end"]
        failed = next((event for event in ends if not event["passed"]), None)
        seconds = sum(event["seconds"] for event in ends)
        if failed is None and own[-1]["event"] == "start":
            failed = {"test": own[-1]["test"], "why": ended or "the simulation ended"}
        killed = failed is not None
        test, why = (failed["test"], failed["why"]) if failed else ("", "")
        results.append(Verdict(number, killed, test, why, len(ends), seconds))
    return results


def _watch(command: list[str], events: Path, patience: float) -> str:
    """Run the process until it ends or hangs; why it ended early, or an empty text."""
    with events.with_suffix(".log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        size, moved = -1, time.monotonic()
        try:
            while process.poll() is None:
                time.sleep(_POLL_SECONDS)
                now = events.stat().st_size if events.exists() else 0
                if now != size:
                    size, moved = now, time.monotonic()
                elif time.monotonic() - moved > patience:
                    return f"no progress in {patience:.0f} s"
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return f"the simulation ended with status {process.returncode}" if process.returncode else ""


def _read(events: Path) -> list[dict[str, Any]]:
    if not events.exists():
        log = events.with_suffix(".log")
        raise MutationError(f"a session did not start: {log.read_text(errors='replace')[-800:]}")
    return [json.loads(line) for line in events.read_text(encoding="utf-8").splitlines() if line.endswith("}")]


def _main(file: str) -> None:
    task = json.loads(Path(file).read_text(encoding="utf-8"))
    os.environ.update(verilator_env(default_cache()))
    work = Path(task["work"])
    # The runner's verdict does not count: mutants are there to fail.
    with contextlib.suppress(SystemExit):
        get_runner("verilator").test(
            test_module="flexnm_tb.mutation.bench",
            hdl_toplevel=task["toplevel"],
            hdl_toplevel_lang="verilog",
            build_dir=work,
            test_dir=work,
            results_xml=f"{file}.xml",
            timescale=("1ns", "1ps"),
            extra_env={
                MANIFEST_VARIABLE: task["manifest"],
                SEED_VARIABLE: "1",
                TASK_VARIABLE: file,
                "COCOTB_LOG_LEVEL": "ERROR",
                **BENCHES_ONLY,
            },
        )
    Path(f"{file}.xml").unlink(missing_ok=True)


if __name__ == "__main__":
    _main(sys.argv[1])
