"""Breaks the RTL on purpose, one bug at a time, and shows which cocotb tests notice: ``make faults``.

Exit status 1 when a bug goes unnoticed. The sources in the repository are never touched: each bug lives in a copy.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from catalogue import FAULTS, Fault
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

REPOSITORY = Path(__file__).resolve().parents[2]
BENCHES = REPOSITORY / "verif" / "sim"


def broken_sources(fault: Fault, folder: Path) -> None:
    """A copy of the RTL package in ``folder`` with the bug in it. Raises ValueError if its text is not there once."""
    package = folder / "flexnm_rtl"
    shutil.copytree(REPOSITORY / "rtl" / "flexnm_rtl", package, ignore=shutil.ignore_patterns("__pycache__"))
    file = package / fault.file
    text = file.read_text(encoding="utf-8")
    if text.count(fault.old) != 1:
        raise ValueError(f"{fault.name}: {fault.old!r} stands {text.count(fault.old)} times in {fault.file}, not once")
    file.write_text(text.replace(fault.old, fault.new), encoding="utf-8")


def failed_tests(fault: Fault) -> list[str]:
    """Names of the cocotb tests that fail with the bug. Raises RuntimeError when the bench did not get that far."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        broken_sources(fault, folder / "rtl")
        build = folder / "build"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--no-header"]
        done = subprocess.run(
            [*command, f"{BENCHES / fault.bench}::{fault.test}[{fault.case}]"],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(folder / "rtl"), "FLEXNM_BUILD": str(build)},
            capture_output=True,
            text=True,
            check=False,
        )
        results = list(build.rglob("*.xml"))
        if not results:
            raise RuntimeError(f"{fault.name}: the bench did not run\n{done.stdout}")
        cases = ElementTree.parse(results[0]).getroot().iter("testcase")
        return [str(case.get("name")) for case in cases if case.find("failure") is not None]


def main() -> int:
    """Run the catalogue, print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=[""], nargs="*", help="faults whose name contains one of these")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    chosen = [fault for fault in FAULTS if any(text in fault.name for text in options.only)]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    caught: dict[str, list[str]] = {}
    broken: list[str] = []
    with Progress(*columns, console=Console(stderr=True)) as progress, ThreadPoolExecutor(options.jobs) as pool:
        task = progress.add_task("faults", total=len(chosen))
        futures = {pool.submit(failed_tests, fault): fault for fault in chosen}
        for future in as_completed(futures):
            name = futures[future].name
            try:
                caught[name] = future.result()
            except RuntimeError as error:  # the other faults' hour is not lost
                broken.append(str(error))
                caught[name] = []
            progress.update(task, advance=1)
    table = Table(title="Deliberate RTL faults")
    for column in ("fault", "bench", "cocotb tests that fail"):
        table.add_column(column, overflow="fold")
    for fault in chosen:
        simulator = " (Icarus)" if "icarus" in fault.test else ""
        table.add_row(fault.name, fault.case + simulator, "\n".join(caught[fault.name]) or "NONE")
    Console(width=150).print(table)
    missed = sum(not tests for tests in caught.values())
    print(*broken, f"{len(chosen)} faults, {missed} not noticed", sep="\n")
    return 1 if missed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
