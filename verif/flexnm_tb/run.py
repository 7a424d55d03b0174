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
from flexnm_gen.axi_wrapper import wrapper_name, wrapper_ports
from flexnm_gen.files import write_files
from flexnm_gen.generate import generate
from flexnm_rtl.config import Config

from flexnm_tb.context import MANIFEST_VARIABLE, SEED_VARIABLE
from flexnm_tb.verilator import default_cache, verilator_env

VERILATOR_ARGS = ["-O3", "--x-assign", "unique", "--x-initial", "unique", "-Wno-fatal"]
# Of the C++ compiler: our tests take -O0, because most of their benches run for less than a second.
VERILATOR_ARGS += ["-CFLAGS", os.environ.get("FLEXNM_BENCH_OPTIMISE", "-O1")]
# cocotb makes every signal visible, which turns thousands of wires into C++ that takes minutes to compile.
PORTS_ONLY = "--no-public-flat-rw"
# cocotb has pytest rewrite the assertions of all that is imported, PyTorch too: seconds in every simulation.
BENCHES_ONLY = {"COCOTB_REWRITE_ASSERTION_FILES": "*/flexnm_tb/*.py"}
LOG_LINES = 40
COVERAGE_VARIABLE = "FLEXNM_COVERAGE"
"""A folder: Verilator's coverage of each run is written there, as ``<module at the top>-<name>.dat``."""
COVERAGE_ARGS = ["--coverage-line", "--coverage-toggle", "--coverage-max-width", "1024"]


class BenchError(AssertionError):
    """A bench failed, or did not run; the message names it and ends with its log."""


@dataclass(frozen=True)
class Outcome:
    """How many cocotb tests of a bench ran and failed, and its log."""

    tests: int
    failures: int
    log: Path


@dataclass(frozen=True)
class Netlist:
    """What a unit became, in place of its Verilog. name: tells targets apart. text: Verilog, ports as in the unit's."""

    name: str
    text: str


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
    wrapped: bool = False,
    netlist: Netlist | None = None,
) -> Outcome:
    """Run the cocotb tests of ``module`` on the unit ``top``; ``name`` tells runs of one unit apart.

    module: one module, or several separated by commas. wrapped: simulate the unit inside its AXI wrapper. netlist:
    simulated in place of the unit's Verilog.
    Raises BenchError when a test fails or none ran.
    """
    os.environ.update(verilator_env(default_cache()))
    folder = generate(top, cfg, build_root() / "rtl")
    design = _design(folder, wrapped)
    counted = os.environ.get(COVERAGE_VARIABLE) if simulator == "verilator" else None
    kind = f"{simulator}{f'-{netlist.name}' if netlist else ''}{'-coverage' if counted else ''}"
    work = build_root() / kind / design.toplevel
    runner = get_runner(simulator)
    with locked(work):
        sources = [folder / source for source in design.sources]
        if netlist:
            write_files(work.parent, {sources[0].name: netlist.text})
            sources[0] = work.parent / sources[0].name
        runner.build(
            sources=sources,
            hdl_toplevel=design.toplevel,
            build_dir=work,
            build_args=[*_verilator_args(folder, design), *(COVERAGE_ARGS if counted else [])]
            if simulator == "verilator"
            else [],
            timescale=("1ns", "1ps"),
            log_file=work.parent / f"{design.toplevel}.build.log",
        )
    log = work / f"{name}.log"
    results = work / f"{name}.xml"
    # Under pytest the runner ends the process when a test fails; the results say more.
    with contextlib.suppress(SystemExit):
        runner.test(
            test_module=module,
            hdl_toplevel=design.toplevel,
            build_dir=work,
            test_dir=work,
            results_xml=str(results),
            test_filter=test_filter,
            plusargs=[f"+verilator+coverage+file+{counted}/{design.toplevel}-{name}.dat"] if counted else [],
            log_file=log,
            timescale=("1ns", "1ps"),
            extra_env={
                MANIFEST_VARIABLE: str(folder / f"{folder.name}.json"),
                SEED_VARIABLE: str(seed),
                **BENCHES_ONLY,
                **(env or {}),
            },
        )
    tests, failures = get_results(results) if results.exists() else (0, 0)
    if failures or not tests:
        raise BenchError(
            f"{module} on {design.toplevel}: {failures} of {tests} tests failed (seed {seed}, log {log})\n{_tail(log)}"
        )
    return Outcome(tests, failures, log)


@dataclass(frozen=True)
class _Design:
    """What is simulated: the module at the top, the files it needs, the names of its ports."""

    toplevel: str
    sources: tuple[str, ...]
    ports: tuple[str, ...]


def _design(folder: Path, wrapped: bool) -> _Design:
    manifest = json.loads((folder / f"{folder.name}.json").read_text(encoding="utf-8"))
    core = f"{folder.name}.v"
    if not wrapped:
        return _Design(folder.name, (core,), tuple(port["name"] for port in manifest["ports"]))
    wrapper = wrapper_name(manifest)
    return _Design(wrapper, (core, f"{wrapper}.v"), tuple(port.name for port in wrapper_ports(manifest)))


@contextlib.contextmanager
def locked(work: Path) -> Iterator[None]:
    """Two tests of one unit may start at the same time; the second finds it built."""
    work.parent.mkdir(parents=True, exist_ok=True)
    with (work.parent / f".{work.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _verilator_args(folder: Path, design: _Design) -> list[str]:
    lines = [f'public_flat_rw -module "{design.toplevel}" -var "{port}"\n' for port in design.ports]
    settings = f"{design.toplevel}.vlt"
    write_files(folder, {settings: "`verilator_config\n" + "".join(lines)})
    return [*VERILATOR_ARGS, PORTS_ONLY, str(folder / settings)]


def _tail(log: Path) -> str:
    text = log.read_text(errors="replace") if log.exists() else "no log"
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    return "\n".join(lines[-LOG_LINES:])
