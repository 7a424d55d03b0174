"""Generate, build and simulate: one unit, one bench module."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import get_runner
from flexnm_gen.files import write_files
from flexnm_gen.generate import generate
from flexnm_rtl.config import Config

from flexnm_tb.context import MANIFEST_VARIABLE, SEED_VARIABLE
from flexnm_tb.verilator import default_cache, verilator_env

VERILATOR_ARGS = ["-O3", "--x-assign", "unique", "--x-initial", "unique", "-Wno-fatal", "-CFLAGS", "-O1"]
# cocotb makes every signal visible, which turns thousands of wires into C++ that takes minutes to compile.
PORTS_ONLY = "--no-public-flat-rw"
LOG_LINES = 40


class BenchError(AssertionError):
    """A bench failed, or did not run; the message names it and ends with its log."""


@dataclass(frozen=True)
class Outcome:
    """How many cocotb tests of a bench ran and failed, and its log."""

    tests: int
    failures: int
    log: Path


def build_root() -> Path:
    """Where simulations are built: ``build/sim`` in the working directory, or $FLEXNM_BUILD."""
    return Path(os.environ.get("FLEXNM_BUILD") or "build/sim").resolve()


def simulate(
    top: str,
    cfg: Config,
    module: str,
    *,
    name: str,
    simulator: str = "verilator",
    seed: int = 1,
    test_filter: str | None = None,
    env: Mapping[str, str] | None = None,
) -> Outcome:
    """Run the cocotb tests of ``module`` on the unit ``top``; ``name`` tells runs of one unit apart.

    Raises BenchError when a test fails or none ran.
    """
    os.environ.update(verilator_env(default_cache()))
    folder = generate(top, cfg, build_root() / "rtl")
    work = build_root() / simulator / folder.name
    runner = get_runner(simulator)
    with _locked(work):
        runner.build(
            sources=[folder / f"{folder.name}.v"],
            hdl_toplevel=folder.name,
            build_dir=work,
            build_args=_verilator_args(folder) if simulator == "verilator" else [],
            timescale=("1ns", "1ps"),
            log_file=work.parent / f"{folder.name}.build.log",
        )
    log = work / f"{name}.log"
    results = runner.test(
        test_module=module,
        hdl_toplevel=folder.name,
        build_dir=work,
        test_dir=work,
        results_xml=str(work / f"{name}.xml"),
        test_filter=test_filter,
        log_file=log,
        timescale=("1ns", "1ps"),
        extra_env={
            MANIFEST_VARIABLE: str(folder / f"{folder.name}.json"),
            SEED_VARIABLE: str(seed),
            **(env or {}),
        },
    )
    tests, failures = get_results(results)
    if failures or not tests:
        raise BenchError(
            f"{module} on {folder.name}: {failures} of {tests} tests failed (seed {seed}, log {log})\n{_tail(log)}"
        )
    return Outcome(tests, failures, log)


@contextlib.contextmanager
def _locked(work: Path) -> Iterator[None]:
    """Two tests of one unit may start at the same time; the second finds it built."""
    work.parent.mkdir(parents=True, exist_ok=True)
    with (work.parent / f".{work.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _verilator_args(folder: Path) -> list[str]:
    ports = json.loads((folder / f"{folder.name}.json").read_text(encoding="utf-8"))["ports"]
    lines = [f'public_flat_rw -module "{folder.name}" -var "{port["name"]}"\n' for port in ports]
    write_files(folder, {"ports.vlt": "`verilator_config\n" + "".join(lines)})
    return [*VERILATOR_ARGS, PORTS_ONLY, str(folder / "ports.vlt")]


def _tail(log: Path) -> str:
    text = log.read_text(errors="replace") if log.exists() else "no log"
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    return "\n".join(lines[-LOG_LINES:])
