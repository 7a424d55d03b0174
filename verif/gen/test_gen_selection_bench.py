"""The selectors that only ``bench/selection.py`` has: checked against the model, and the check notices a wrong one."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from gen_tools import REPOSITORY

BENCH = REPOSITORY / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The measurement as a module."""
    monkeypatch.syspath_prepend(str(BENCH))
    import selection

    monkeypatch.setattr(selection, "CHECKED", 30)
    return selection


@pytest.mark.parametrize("n", ["fixed", "run time"])
def test_selectors_of_the_measurement_select(bench: Any, n: str) -> None:
    """Every one, from scores and from values."""
    for name, source in zip(bench.OTHERS, itertools.cycle([bench.SCORES, bench.VALUES]), strict=False):
        bench.check(bench.Case(4, n, name, source, 750.0))


def test_the_check_notices_a_wrong_one(bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks without their last column, and another tie rule."""
    import _selectors

    case = bench.Case(4, "fixed", "sorted, 1 column a cycle", bench.SCORES, 750.0)
    true_needed = _selectors.needed
    monkeypatch.setattr(_selectors, "needed", lambda columns, keep: true_needed(columns, keep)[:-1])
    with pytest.raises(AssertionError, match="2:4 fixed, sorted"):
        bench.check(case)
    monkeypatch.setattr(_selectors, "needed", true_needed)
    monkeypatch.setattr(bench, "select", lambda block, n: bench_reversed(block, n))
    with pytest.raises(AssertionError, match="2:4 fixed, sorted"):
        bench.check(case)


def bench_reversed(block: list[int], n: int) -> list[bool]:
    """The higher channel first among equals."""
    from flexnm_model.reference import select

    return select(block[::-1], n)[::-1]


@pytest.mark.parametrize("keep", range(1, 8))
def test_a_cut_network_finds_the_largest(bench: Any, keep: int) -> None:
    """Of all patterns of zeros and ones (the zero-one principle), with fewer comparators than the whole."""
    from _selectors import needed, odd_even_merge_sort

    whole = odd_even_merge_sort(8)
    cut = needed(whole, keep)
    assert sum(map(len, cut)) < sum(map(len, whole)) == 19
    for bits in itertools.product((0, 1), repeat=8):
        wires = list(bits)
        for a, b in (pair for column in cut for pair in column):
            wires[a], wires[b] = max(wires[a], wires[b]), min(wires[a], wires[b])
        assert sum(wires[:keep]) == min(keep, sum(bits))


def test_every_case_has_one_of_flexnms_own(bench: Any) -> None:
    """To be compared with."""
    cases = list(bench.cases([750.0]))
    assert len({case.label for case in cases}) == len(cases)
    groups = {(case.group, case.n, case.source) for case in cases}
    assert sorted((case.group, case.n, case.source) for case in cases if case.ours) == sorted(groups)


@pytest.mark.parametrize(
    "name, args, message",
    [
        ("selection", ["--liberty", "no.lib"], "LIBERTY=no.lib: No such file"),
        ("selection", [], "LIBERTY names no file"),
        ("sparse_dense", ["--liberty", "no.lib"], "LIBERTY=no.lib: No such file"),
    ],
)
def test_what_is_wrong_is_one_line(
    name: str, args: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And exit status 2."""
    monkeypatch.delenv("LIBERTY", raising=False)
    command = [sys.executable, str(BENCH / f"{name}.py"), *args]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
