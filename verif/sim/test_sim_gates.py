"""Benches on netlists: right gates pass, a wrong one does not, and what passed is not run again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from flexnm_gen.cli import run as flexnm
from flexnm_gen.fpga import fpga_behaviour
from flexnm_gen.synth import prepare
from flexnm_rtl.config import Config, ConfigError
from flexnm_tb import gates, gates_commands
from flexnm_tb.gates import Outcome
from flexnm_tb.known_cells import LIBRARY
from flexnm_tb.mutation.components import Component
from flexnm_tb.run import Netlist
from flexnm_tb.side_by_side import side_by_side

TINY = Component(
    "tiny", "decompressor", Config(n_keep=1, m_group=2, rows=1, cols=1, lanes=1), ("flexnm_tb.benches.decompressor",), 0
)


@pytest.mark.parametrize("target", ["ecp5", "asic"])
def test_gates_pass_and_a_wrong_gate_does_not(target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "known.lib"
    library.write_text(LIBRARY)
    job = prepare(TINY.top, TINY.cfg, target, liberty=[library] if target == "asic" else [], route=False)
    right = gates.netlist(job)
    outcome = gates.run(TINY, job)
    assert (outcome.tests, outcome.failure) == (7, "")
    wrong = Netlist(f"{target}-wrong", right.text.replace("i__payload[3]", "i__payload[4]"))
    assert wrong.text != right.text
    monkeypatch.setattr(gates, "netlist", lambda job: wrong)
    assert "tests failed" in gates.run(TINY, job).failure


@pytest.mark.parametrize("kind", ["", "signed"])
def test_a_multiplier_of_an_fpga(kind: str, tmp_path: Path) -> None:
    """Proved equal to the product, for all operands."""
    source = (
        f"module unit(input {kind} [4:0] a, input {kind} [3:0] b, output {kind} [8:0] y); assign y = a * b; endmodule"
    )
    text = fpga_behaviour(source, "unit", "ecp5")
    assert "*" in text  # through the model, not through LUTs
    commands = [
        "read_verilog gates.v rtl.v",
        "proc",
        "miter -equiv -flatten unit plain both",
        "sat -verify -prove trigger 0 both",
    ]
    done = side_by_side(text, source, commands, tmp_path)
    assert done.returncode == 0, done.stdout[-500:]
    assert "SAT proof finished - no model found: SUCCESS" in done.stdout


def test_what_passed_is_kept(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []

    def fake(component: Component, job: object) -> Outcome:
        runs.append(component.name)
        return Outcome(component.name, "ecp5", 7, 1.0, "" if len(runs) > 1 else "1 of 7 tests failed")

    monkeypatch.setattr(gates_commands, "DESIGNS", {"tiny": TINY, "other": replace(TINY, name="other")})
    monkeypatch.setattr(gates_commands, "run", fake)
    command = ["gates", "--targets", "ecp5", "--out", str(tmp_path / "out")]
    assert flexnm(command) == 1  # tiny fails, other passes
    assert [bool(row["failure"]) for row in json.loads((tmp_path / "out" / "gates.json").read_text())] == [True, False]
    assert flexnm(command) == 0
    assert flexnm([*command, "--only", "other"]) == 0
    assert runs == ["tiny", "other", "tiny"]
    assert flexnm([*command, "--fresh"]) == 0
    assert runs[3:] == ["tiny", "other"]


@pytest.mark.parametrize(
    "arguments, text",
    [
        (
            ["--only", "linear"],
            "ONLY=linear is unknown: choose from compressor, decompressor, flexible, array, engine, edge",
        ),
        (["--targets", "xc7"], "TARGETS=xc7 is unknown: choose from ecp5, ice40, asic"),
        (["--liberty", "'a.lib"], "LIBERTY='a.lib cannot be split into files: No closing quotation"),
        (["--targets", "ecp5", "--liberty", "a.lib"], "LIBERTY is for the target asic: leave it out for an FPGA"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    arguments: list[str], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert flexnm(["gates", "--out", str(tmp_path / "out"), *arguments]) == 2
    assert capsys.readouterr().err.strip() == f"flexnm: error: {text}"
    assert not (tmp_path / "out").exists()


def test_a_target_without_models_is_refused() -> None:
    with pytest.raises(ConfigError, match="no models of all cells of gowin: choose from ecp5, ice40"):
        fpga_behaviour("", "unit", "gowin")
