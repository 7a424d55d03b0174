"""The fuzz campaign: green on the engine as it is, red with a bug, resumed, and its options."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flexnm_gen.cli import run
from flexnm_tb.cosim.engine import Outcome, SimulatedEngine
from flexnm_tb.fuzz import campaign

CONFIG = "n2m4"
JOBS = 40


@pytest.fixture(autouse=True)
def own_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing kept from other runs; compiled engines stay where they are."""
    monkeypatch.setattr(campaign, "cache_dir", lambda: tmp_path / "cache")


def break_abort(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine whose first result is wrong in the job after a job with an abort."""
    whole, broken = SimulatedEngine.stream, [False]

    def stream(engine: SimulatedEngine, *packets: Any) -> Outcome:
        plan = engine.disturbance
        aborts = plan is not None and any(a.write and a.address == 0x40 and a.data == 2 for a in plan.accesses)
        outcome = whole(engine, *packets)
        if broken[0] and len(outcome.results):
            outcome.results[0] ^= 1
        broken[0] = aborts
        return outcome

    monkeypatch.setattr(SimulatedEngine, "stream", stream)


def test_a_seed_is_a_campaign_and_is_resumed(tmp_path: Path) -> None:
    first = campaign.run_campaign(JOBS, 3, [CONFIG])
    assert first.failure is None
    assert first.jobs >= JOBS
    assert (first.chunks, first.cached) == (1, 0)
    counts = first.counts[CONFIG]
    assert counts["good"] == counts["steps"] > 10
    bad = {name for name, count in counts.items() if count} - {"good", "steps", "jobs", "pauses"}
    assert len(bad) > 10, f"only {bad} was bad"
    again = campaign.run_campaign(first.jobs + 1, 3, [CONFIG])
    assert (again.chunks, again.cached) == (2, 1)
    fresh = campaign.run_campaign(JOBS, 3, [CONFIG], fresh=True)
    assert (fresh.cached, fresh.counts[CONFIG]) == (0, counts)


def test_a_bug_is_found_shrunk_and_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as broken:
        break_abort(broken)
        assert run(["fuzz", "--jobs", "400", "--seed", "3", "--configs", CONFIG, "--out", str(out)]) == 1
        assert f"FAILED: {CONFIG}, seed 3, chunk " in capsys.readouterr().err
        failed = json.loads((out / "failed.json").read_text())
        assert [step["kind"] for step in failed["case"]] in (["abort"], ["starved"])
        assert run(["fuzz", "--replay", str(out / "failed.json")]) == 1
    assert not list((tmp_path / "cache").rglob("*.json")), "a chunk that failed is kept"
    assert run(["fuzz", "--replay", str(out / "failed.json")]) == 0
    assert capsys.readouterr().out.endswith("good\n")


@pytest.mark.parametrize(
    "args, message",
    [
        (["fuzz", "--jobs", "0"], "JOBS=0 is out of range: it must be at least 1"),
        (["fuzz", "--seed", "-1"], "SEED=-1 is out of range"),
        (["fuzz", "--configs", "n9m9"], "no configuration n9m9 to fuzz: choose of n2m4,"),
        (["fuzz", "--configs", ","], "no configuration is named: choose of"),
        (["fuzz", "--out", __file__], "is a file: name a folder"),
        (["fuzz", "--replay", "nowhere.json"], "nowhere.json cannot be read"),
        (["fuzz", "--replay", __file__], "is no case of flexnm fuzz: name a failed.json"),
        (["soak", "--minutes", "0"], "MINUTES=0 is out of range: it must be above 0"),
        (["soak", "--minutes", "nan"], "MINUTES=nan is out of range"),
        (["soak", "--job", "-1"], "job -1 is out of range"),
    ],
)
def test_bad_options(
    args: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(args) == 2
    error = capsys.readouterr().err
    assert error.startswith("flexnm: error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not list(tmp_path.iterdir())


def test_a_case_that_was_tampered_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = tmp_path / "failed.json"
    case.write_text(json.dumps({"config": CONFIG, "case": [{"kind": "job"}]}))
    assert run(["fuzz", "--replay", str(case)]) == 2
    assert "is no case of flexnm fuzz: name a failed.json" in capsys.readouterr().err
