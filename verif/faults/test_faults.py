"""The catalogue of deliberate bugs fits the sources, and a broken unit turns its bench red."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from catalogue import FAULTS, Fault
from run import BENCHES, REPOSITORY, broken_sources, failed_tests


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_every_fault_still_applies(fault: Fault, tmp_path: Path) -> None:
    """The text to break stands once in its file, and breaking it leaves valid Python."""
    broken_sources(fault, tmp_path)
    compile((tmp_path / "flexnm_rtl" / fault.file).read_text(encoding="utf-8"), fault.file, "exec")


def test_every_case_exists() -> None:
    """The tests that have to notice are among those that pytest finds."""
    files = sorted({str(BENCHES / fault.bench) for fault in FAULTS})
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *files]
    found = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    there = {line.rpartition("/")[2] for line in found.splitlines()}
    asked = {f"{fault.bench}::{fault.test}[{fault.case}]" for fault in FAULTS}
    assert asked - there == set()


def test_names_are_unique() -> None:
    """The table is read by name."""
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) >= 10


def test_a_broken_decompressor_is_noticed() -> None:
    """The whole way: a copy with a bug, Verilog, Verilator, cocotb."""
    fault = next(fault for fault in FAULTS if fault.name == "decompressor: position off by one")
    assert "throughput" in failed_tests(fault)
