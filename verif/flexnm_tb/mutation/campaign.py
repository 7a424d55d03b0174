"""Every mutant of a component against its benches; results are kept one by one, so an interrupted run goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, replace
from pathlib import Path

from flexnm_tb.mutation.code import Benches
from flexnm_tb.mutation.design import Design, MutationError, build
from flexnm_tb.mutation.session import Baseline, Verdict, measure_baseline, run_session

BATCH = 25
"""Mutants of a simulation."""
_PATIENCE = 20.0
"""A test hangs when nothing happens for so many times the longest test of the original ..."""
_PATIENCE_LEAST = 150.0
"""... but not before so many seconds: the machine may have other work."""
_STORE = "verdicts.jsonl"


class Store:
    """Verdicts of a design in a file, one JSON object a line; a line that is cut off is only lost time."""

    def __init__(self, folder: Path, benches: Benches, *, fresh: bool = False) -> None:
        self.file = folder / _STORE
        self.benches = benches
        if fresh:
            self.file.unlink(missing_ok=True)

    def read(self) -> dict[int, Verdict]:
        """Verdicts by mutant, without those that the code of today might not come to."""
        found = {}
        for line in self.file.read_text(encoding="utf-8").splitlines() if self.file.exists() else ():
            try:
                verdict = Verdict(**json.loads(line))
            except (ValueError, TypeError):
                continue
            if verdict.code == self._code(verdict):
                found[verdict.mutant] = verdict
        return found

    def _code(self, verdict: Verdict) -> str:
        return self.benches.one(verdict.test) if verdict.killed else self.benches.all()

    def add(self, verdicts: Iterable[Verdict]) -> None:
        """Append verdicts."""
        verdicts = [replace(verdict, code=self._code(verdict)) for verdict in verdicts]
        lines = [json.dumps(asdict(verdict)) + "\n" for verdict in verdicts]
        with self.file.open("a", encoding="utf-8") as file:
            file.write("".join(lines))


def run_all(design: Design, store: Store, jobs: int, advance: Callable[[int], None]) -> dict[int, Verdict]:
    """Verdicts of all mutants; those in the store are not run again. advance: called with how many are new.

    Raises MutationError when the original fails.
    """
    known = store.read()
    advance(len(known))
    missing = [mutant.number for mutant in design.mutants if mutant.number not in known]
    if not missing:
        return known
    work = build(design)
    baseline = measure_baseline(design, work)
    batches = [missing[i : i + BATCH] for i in range(0, len(missing), BATCH)]
    with ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(run_batch, design, work, batch, baseline) for batch in batches]
        try:
            for future in as_completed(futures):
                found = future.result()
                store.add(found)
                advance(len(found))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return store.read()


def run_batch(design: Design, work: Path, mutants: Sequence[int], baseline: Baseline) -> list[Verdict]:
    """Verdicts of a batch, in as many simulations as it takes: one that dies or hangs leaves others to run.

    When the original fails behind the mutants of a simulation, they have left something behind that a reset does not
    clear, and nothing in it counts: each runs alone then. Raises MutationError when that does not help.
    """
    patience = max(_PATIENCE_LEAST, _PATIENCE * max(baseline.seconds.values()))
    left, done = list(mutants), dict[int, Verdict]()
    while left:
        found = {verdict.mutant: verdict for verdict in run_session(design, work, left, baseline, patience)}
        original = found.pop(0, None)
        if original is not None and original.killed:
            if len(left) == 1:
                raise MutationError(f"{design.top}: the original fails behind mutant {left[0]}: {original.why}")
            alone = [run_batch(design, work, [mutant], baseline) for mutant in left]
            return [*done.values(), *(verdict for verdicts in alone for verdict in verdicts)]
        if not found:
            raise MutationError(f"{design.top}: a simulation ended before its first test")
        done |= found
        left = [mutant for mutant in left if mutant not in found]
    return [replace(verdict, why=_plain(verdict.why)) for verdict in done.values()]


def _plain(reason: str) -> str:
    return "a task beside the test failed" if reason.startswith("CancelledError") else reason
