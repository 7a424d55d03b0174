"""The runner: green on what is true, red on what is not, and on a broken selector; what is proved is kept."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Cover, Module, Signal, Value
from flexnm_gen.cli import run
from flexnm_rtl.config import ConfigError, Selector
from flexnm_rtl.select_rank import RankSelector
from flexnm_tb.formal import selection_lemmas
from flexnm_tb.formal.catalogue import all_proofs
from flexnm_tb.formal.counts import Cut
from flexnm_tb.formal.proof import FORWARD, Circuit, Proof, check
from flexnm_tb.formal.rules import bare
from flexnm_tb.formal.runner import FAILED, PROVED, Outcome, Runner
from flexnm_tb.formal.selection_direct import rule


class _TiesUp(RankSelector):
    """Broken: of equal scores the higher channel wins."""

    def _rank(self, m: Module, lost: list[Value], channel: int) -> Value:
        scores = list(self.scores)
        return super()._rank(
            m, [scores[j] >= scores[channel] if j > channel else scores[j] > scores[channel]
                for j in range(self.m_group) if j != channel], channel
        )  # fmt: skip


@pytest.fixture
def runner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runner:
    """With an empty cache."""
    monkeypatch.setenv("FLEXNM_CACHE", str(tmp_path / "cache"))
    return Runner(tmp_path / "out", timeout=60)


def _doubled(limit: int) -> Any:
    def describe(m: Module, c: Circuit) -> None:
        doubled = Signal(5)
        m.d.sync += doubled.eq(c.free(4, "number") << 1)
        check(m, "limit", doubled <= limit)
        m.d.comb += Cover(doubled == limit)

    return describe


def _ask(runner: Runner, limit: int, **settings: Any) -> Outcome:
    return runner.one(Proof("test/limit", "a claim", lambda: Circuit(_doubled(limit)), **settings))


@pytest.mark.parametrize("engine", ["smtbmc z3", "abc pdr", FORWARD])
def test_a_true_claim_is_proved_and_kept(runner: Runner, engine: str) -> None:
    first = _ask(runner, 30, engine=engine)
    again = _ask(runner, 30, engine=engine)
    assert (first.result, first.kept, first.trace) == (PROVED, False, None)
    assert (again.result, again.kept, again.seconds) == (PROVED, True, first.seconds)


@pytest.mark.parametrize("engine", ["smtbmc z3", "abc pdr", FORWARD])
def test_a_false_claim_leaves_a_trace_and_is_not_kept(runner: Runner, tmp_path: Path, engine: str) -> None:
    outcome = _ask(runner, 29, engine=engine)
    assert (outcome.result, outcome.kept) == (FAILED, False)
    assert outcome.trace is not None
    assert "holds_limit" in Path(outcome.trace).read_text(encoding="utf-8")
    assert not list((tmp_path / "cache").rglob("*.json"))


def test_covers_and_expected_failures(runner: Runner) -> None:
    assert _ask(runner, 30, mode="cover").result == PROVED
    assert _ask(runner, 29, mode="cover").result == FAILED
    assert _ask(runner, 29, mode="bmc", expect="fail").result == PROVED
    assert _ask(runner, 30, mode="bmc", expect="fail").result == FAILED


def test_a_selector_and_a_broken_one(runner: Runner) -> None:
    good = Proof("test/good", "rule", partial(rule, Selector.RANK, 2, 4), depth=2)
    broken = Proof("test/broken", "rule", lambda: rule(Selector.RANK, 2, 4, made=_TiesUp(2, 4, 8)), depth=2)
    seen: list[str] = []
    found = runner.run([good, broken], 2, lambda outcome: seen.append(outcome.name))
    assert [outcome.result for outcome in found] == [PROVED, FAILED]
    assert sorted(seen) == ["test/broken", "test/good"]


def test_the_command(runner: Runner, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "report"
    assert run(["formal", "--only", "select/lemma/threshold", "--jobs", "1", "--out", str(out)]) == 0
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert [proof["result"] for proof in report["proofs"]] == [PROVED]
    assert report["proofs"][0]["claim"]


@pytest.mark.parametrize("options", [["--jobs", "0"], ["--timeout", "0"], ["--only", "nothing like it"]])
def test_bad_options(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["formal", *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("pattern", ["2:4", "4:8", "8:16", "16:32"])
def test_every_selector_is_in_the_catalogue_for_every_pattern(pattern: str) -> None:
    names = {proof.name for proof in all_proofs()}
    for kind, steps in {"rank": ["comparisons"], "rank2": ["comparisons"], "radix": ["wiring", "digit"]}.items():
        for step in steps:
            assert any(name.startswith(f"select/{kind}/{pattern}/{step}") for name in names), (kind, step)
    assert f"select/rank/{pattern}/counting" in names
    assert {f"select/radix/{pattern}/{last}" for last in ("exactly_n", "ties")} & names


def test_names_are_unique(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = Proof("test/twice", "a claim", lambda: Circuit(_doubled(30)))
    monkeypatch.setattr(selection_lemmas, "proofs", lambda: [twice, twice])
    with pytest.raises(ConfigError, match="two proofs are called test/twice"):
        all_proofs()


def test_only_sums_with_a_lemma_are_cut() -> None:
    columns = [[Signal()] * 3, [], []]
    with pytest.raises(ConfigError, match="no lemma about a sum"):
        Cut().column_sum(bare(Module()), columns, "sum")
